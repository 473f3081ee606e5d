"""BlobService as a place that the transfer engine sends to and fetches from.

The service lends single requests and afterwards looks what has arrived. The engine calls from
several threads at once; many small files go in one call.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from gimle.asgard.client.blobs_rows import Blob, blob_of, problem
from gimle.asgard.client.connection import SLOWEST_BYTES_A_SECOND, Connection
from gimle.asgard.client.grants import grant_of
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    NotFoundError,
    StorageFullError,
)
from gimle.asgard.core.ids import new_id
from gimle.asgard.transfer import Begun, Grant, Measured, Outgoing, Part, Remote
from gimle.asgard.transfer.checking import holds
from gimle.asgard.v1 import blob_service_pb2 as pb

_PAGE = 1_000


class ServiceUploads:
    """Grants of one upload of many files. `blobs` are those that are ready, by name."""

    def __init__(self, connection: Connection) -> None:
        self.blobs: dict[str, Blob] = {}
        self._connection = connection
        self._ids: dict[str, str] = {}
        self._put: set[str] = set()  # granted in one request, and not ready yet
        self._lock = threading.Lock()

    @property
    def wants_sha256(self) -> bool:
        """True: whoever downloads checks all bytes by it."""
        return True

    def whole(self, files: Sequence[Measured]) -> Sequence[Grant | None]:
        """Leave to put each of these; None for one whose bytes are there."""
        asked = [
            self._new(one.file, one.size, None if one.sha256 is None else one.sha256.hex())
            for one in files
        ]
        begun = self._create(asked)
        # An earlier attempt may have been killed after its bytes had arrived: look before sending.
        earlier = {
            upload.blob.blob_id: upload.blob.name
            for new, upload in zip(asked, begun, strict=True)
            if upload.HasField("put") and upload.blob.blob_id != new.blob_id
        }
        there = self._complete(earlier, must=False) if earlier else {}
        return [
            self._grant_unless_there(one.file.name, upload, there)
            for one, upload in zip(files, begun, strict=True)
        ]

    def arrived(self, files: Sequence[Measured]) -> None:
        """Make them ready. Raises UploadIncompleteError, DigestMismatchError, UploadEndedError."""
        if not files:
            return
        names = {self._ids[one.file.name]: one.file.name for one in files}
        for id, blob in self._complete(names).items():
            self._note(names[id], blob)

    def there(self, file: Measured) -> bool:
        """Whether it has arrived; then it is ready. Raises as `arrived`."""
        name = file.file.name
        done = self._complete({self._ids[name]: name}, size=file.size, must=False)
        for blob in done.values():
            self._note(name, blob)
        return bool(done)

    def begin(self, file: Outgoing, size: int) -> Begun | None:
        """Begin an upload in parts, or go on with the one of an earlier attempt."""
        new = self._new(file, size)
        try:
            (upload,) = self._create([new])
        except AlreadyExistsError:
            # Its digest is not known yet, so the service cannot tell whether it is this file.
            there = self._lookup(file.name)
            digest = None if there is None else there.digest
            if there is None or digest is None or there.size_bytes != size:
                raise
            if not holds(file.path, digest):
                raise
            if there.state == "ready":
                self._note(file.name, there)
                return None
            self._ids[file.name] = there.id
            return self._resumed(there.id, file.name)
        if upload.WhichOneof("way") is None:
            self._note(file.name, blob_of(upload.blob))
            return None
        id = self._ids[file.name] = upload.blob.blob_id
        if id == new.blob_id:
            return Begun(id, file.name, upload.parts.part_size_bytes)
        return self._resumed(id, file.name)

    def _resumed(self, id: str, name: str) -> Begun:
        arrived: dict[int, Part] = {}
        request = pb.ListPartsRequest(blob_id=id, page_size=_PAGE)
        while True:
            page = self._connection.call("ListParts", request)
            for part in page.parts:
                arrived[part.number] = Part(
                    part.number, part.size_bytes, bytes.fromhex(part.sha256)
                )
            request.page_token = page.next_page_token
            if not request.page_token:
                return Begun(id, name, page.plan.part_size_bytes, arrived)

    def parts(self, begun: Begun, parts: Sequence[Part]) -> Sequence[Grant]:
        """Leave to put each of these parts."""
        asked = [
            pb.SignPartsRequest.Part(number=part.number, sha256=part.sha256.hex()) for part in parts
        ]
        request = pb.SignPartsRequest(blob_id=begun.id, parts=asked)
        return [grant_of(one) for one in self._connection.call("SignParts", request).grants]

    def complete(self, begun: Begun, file: Measured, parts: Sequence[Part]) -> None:
        """Have the parts put together. Raises as `arrived`."""
        sha256 = {} if file.sha256 is None else {begun.id: file.sha256.hex()}
        done = self._complete({begun.id: begun.name}, sha256, size=file.size)
        self._note(begun.name, done[begun.id])

    def _new(self, file: Outgoing, size: int, sha256: str | None = None) -> pb.NewUpload:
        with self._lock:
            # The same id again renews a grant, and makes a repeat after a lost answer safe.
            id = self._ids.setdefault(file.name, new_id(datetime.now(UTC)))
        return pb.NewUpload(
            blob_id=id,
            name=file.name,
            size_bytes=size,
            sha256=sha256,
            content_type=file.content_type,
        )

    def _create(self, asked: Sequence[pb.NewUpload]) -> Sequence[pb.Upload]:
        request = pb.CreateUploadsRequest(uploads=asked)
        try:
            uploads: Sequence[pb.Upload] = self._connection.call("CreateUploads", request).uploads
        except AlreadyExistsError as error:
            there = self._lookup(error.id)
            if there is not None and there.state == "uploading":
                raise AlreadyExistsError("half-uploaded blob", error.id) from error
            raise
        except StorageFullError as error:
            raise error.of(_named([one.name for one in asked])) from error
        return uploads

    def _lookup(self, name: str) -> Blob | None:
        with suppress(NotFoundError):
            request = pb.GetBlobRequest(blob_id=f"name:{name}")
            return blob_of(self._connection.call("GetBlob", request).blob)
        return None

    def _grant_unless_there(
        self, name: str, upload: pb.Upload, there: Mapping[str, Blob]
    ) -> Grant | None:
        id = self._ids[name] = upload.blob.blob_id
        if upload.HasField("put") and id not in there:
            with self._lock:
                self._put.add(id)
            return grant_of(upload.put)
        self._note(name, there.get(id) or blob_of(upload.blob))
        return None

    def _complete(
        self,
        names: Mapping[str, str],
        sha256: Mapping[str, str] | None = None,
        *,
        size: int = 0,
        must: bool = True,
    ) -> dict[str, Blob]:
        """Complete uploads, ids with names; answer those that are ready, all of them if `must`."""
        request = pb.CompleteUploadsRequest(
            uploads=[
                pb.CompleteUploadsRequest.Item(blob_id=id, sha256=(sha256 or {}).get(id))
                for id in names
            ]
        )
        # A store reads what it puts together, a folder copies it.
        seconds = self._connection.timeout + size / SLOWEST_BYTES_A_SECOND
        ready = {}
        try:
            done = self._connection.call("CompleteUploads", request, timeout=seconds)
        except StorageFullError as error:
            raise error.of(_named(list(names.values()))) from error
        for outcome in done.outcomes:
            if outcome.HasField("blob"):
                ready[outcome.blob_id] = blob_of(outcome.blob)
            elif must or outcome.problem.reason != "UPLOAD_INCOMPLETE":
                raise problem(names[outcome.blob_id], outcome.problem)
        return ready

    def _note(self, name: str, blob: Blob) -> None:
        with self._lock:
            self.blobs[name] = blob
            self._put.discard(blob.id)

    def give_up(self) -> None:
        """Let go of names for which other bytes were declared than were sent.

        What goes in parts stays: there, parts may be sent again with other bytes.
        """
        ids = sorted(self._put)
        with suppress(AsgardError):
            for start in range(0, len(ids), _PAGE):
                request = pb.AbortUploadsRequest(blob_ids=ids[start : start + _PAGE])
                self._connection.call("AbortUploads", request)


class ServiceDownloads:
    """Grants of one download of many blobs, which are known by their names."""

    def __init__(self, connection: Connection, blobs: Sequence[Blob]) -> None:
        self._connection = connection
        self._ids = {blob.name: blob.id for blob in blobs}

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        """Leave to read each of these."""
        wanted = [pb.CreateDownloadsRequest.Item(blob_id=self._ids[one.name]) for one in objects]
        request = pb.CreateDownloadsRequest(downloads=wanted)
        return [
            grant_of(one.grant)
            for one in self._connection.call("CreateDownloads", request).downloads
        ]

    def described(self, remote: Remote) -> Remote:
        """As it is: the list of blobs says all there is."""
        return remote


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} or one of {len(names) - 1:,} more"
