"""Bytes of any size in the store behind a BlobService, straight from and to files.

blobs = Blobs("grpc://localhost:50051")
blobs.upload("results", name="run-7/results")
blobs.download("run-7/results", "elsewhere")
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from gimle.asgard.client.asking import Asking
from gimle.asgard.client.blobs_grants import ServiceDownloads, ServiceUploads
from gimle.asgard.client.blobs_paths import outgoing, targets
from gimle.asgard.client.blobs_rows import Blob, Deleted, Downloaded, Uploaded, blob_of
from gimle.asgard.client.connection import SLOWEST_BYTES_A_SECOND
from gimle.asgard.client.errors import PASSING_UNLESS_FULL
from gimle.asgard.core.errors import (
    BlobNotReadyError,
    NotFoundError,
    StorageFullError,
    UploadEndedError,
)
from gimle.asgard.transfer import (
    Outgoing,
    RefusedError,
    Remote,
    Wanted,
    WrongBytesError,
    download,
    upload,
)
from gimle.asgard.transfer.checking import holds
from gimle.asgard.transfer.partial import partial_path
from gimle.asgard.transfer.progress import Listener
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

__all__ = ["Blob", "Blobs", "Deleted", "Downloaded", "Uploaded"]

AnyPath: TypeAlias = str | Path

_PAGE = 1_000
_READERS = 4


class Blobs(Asking):
    """The blobs of the service at `where`: "grpc://host:port", or "grpcs://host:port" for TLS.

    patience: for how many seconds calls that fail in passing are repeated. timeout: how many
    seconds each may take; bytes, which go straight to the store, have their own patience.
    Thread-safe. All methods raise StorageUnavailableError when the service cannot be asked, and
    what is refused as `core.errors` says; bytes that do not move raise TransferError.
    """

    stub = pb_grpc.BlobServiceStub
    passing = PASSING_UNLESS_FULL

    def upload(
        self,
        paths: AnyPath | Iterable[AnyPath],
        name: str | None = None,
        *,
        progress: Listener | None = None,
        stop: threading.Event | None = None,
    ) -> Uploaded:
        """Send a file, or a folder with all below it, or several of them.

        `name` is that of the one file, and what names below one folder begin with; without it
        they begin with the path's last step. With several paths, or a slash at its end, their
        own names are put below it. Links to folders are not followed.

        Digests are computed while reading. What is there already, by name and SHA-256, is not
        sent again, so the same call goes on after a kill: of each file that was being sent, at
        most 32 MiB are lost, or all of one up to 64 MiB. Memory is bounded by what moves at once,
        not by files.

        Raises AlreadyExistsError for a name that other bytes have, WrongBytesError for a file
        that changes while it is sent, StorageFullError at once for what does not fit,
        TransferStoppedError once `stop` is set, OSError.
        """
        given = [paths] if isinstance(paths, str | Path) else paths
        files = outgoing(map(Path, given), name)
        try:
            return self._upload(files, progress, stop)
        except (UploadEndedError, RefusedError) as error:
            if isinstance(error, RefusedError) and not error.missing:
                raise
            # Somebody else was sending the same, and has completed it or given it up.
            return self._upload(files, progress, stop)

    def _upload(
        self, files: Sequence[Outgoing], progress: Listener | None, stop: threading.Event | None
    ) -> Uploaded:
        to = ServiceUploads(self._connection)
        try:
            done = upload(files, to, progress=progress, stop=stop)
        except (WrongBytesError, RefusedError) as error:
            if isinstance(error, WrongBytesError) or not error.passing:
                to.give_up()
            if isinstance(error, RefusedError) and error.full:
                raise StorageFullError(self._connection.place, error.what) from error
            raise
        return Uploaded(tuple(to.blobs[one.name] for one in files), done.bytes, done.bytes_moved)

    def download(
        self,
        name: str,
        to: AnyPath = ".",
        *,
        progress: Listener | None = None,
        stop: threading.Event | None = None,
    ) -> Downloaded:
        """Fetch the blob of this name, or all whose names lie below it, into the folder `to`.

        Files are called as the names are, from the last step of `name` on. Each appears whole,
        with the SHA-256 that was declared for it, or not at all; one that is there like that is
        not fetched again, so the same call goes on after a kill.

        Raises NotFoundError; BlobNotReadyError for what is still being uploaded, after all
        others have been fetched; WrongBytesError, TransferStoppedError, OSError.
        """
        found = self._found(name)
        blobs = [blob for blob in found if blob.state == "ready"]
        paths = targets(blobs, unicodedata.normalize("NFC", name), Path(to))
        have = _had(blobs, paths)
        wanted = [
            Wanted(Remote(blob.name, blob.size_bytes or 0, digest=blob.digest), path)
            for blob, path in zip(blobs, paths, strict=True)
            if blob.id not in have
        ]
        source = ServiceDownloads(self._connection, blobs)
        begun_before = any(
            partial_path(one.target).exists() for one in wanted if not one.remote.is_small
        )
        try:
            moved = download(wanted, source, progress=progress, stop=stop).bytes_moved
        except WrongBytesError:
            if not begun_before:
                raise
            # What an earlier call has left may be of another blob that had this name.
            moved = download(wanted, source, progress=progress, stop=stop).bytes_moved
        for blob in found:
            if blob.state != "ready":
                raise BlobNotReadyError(blob.name, blob.state)
        size = sum(blob.size_bytes or 0 for blob in blobs)
        return Downloaded(tuple(blobs), tuple(paths), size, moved)

    def _found(self, name: str) -> Sequence[Blob]:
        with suppress(NotFoundError):
            return [self.stat(name)]
        found = list(self.list(f"{name.rstrip('/')}/")) if name.strip("/") else []
        if not found:
            raise NotFoundError("blob", name)
        return found

    def stat(self, name: str) -> Blob:
        """What is known of a blob. Raises NotFoundError."""
        try:
            request = pb.GetBlobRequest(blob_id=f"name:{unicodedata.normalize('NFC', name)}")
            return blob_of(self._connection.call("GetBlob", request).blob)
        except NotFoundError:
            raise NotFoundError("blob", name) from None

    def list(self, prefix: str = "") -> Iterator[Blob]:
        """Blobs whose names begin with `prefix`, by name, also those still being uploaded."""
        request = pb.ListBlobsRequest(name_prefix=prefix, page_size=_PAGE)
        while True:
            page = self._connection.call("ListBlobs", request)
            yield from map(blob_of, page.blobs)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def copy(self, name: str, to: str) -> Blob:
        """Copy a blob to another name, within the store; answer the copy, also one that is there.

        Raises NotFoundError, BlobNotReadyError, and AlreadyExistsError where `to` has other bytes.
        """
        blob = self.stat(name)
        request = pb.CopyBlobRequest(blob_id=blob.id, name=to)
        # A store that is asked for a copy answers when it has made it.
        seconds = self._connection.timeout + (blob.size_bytes or 0) / SLOWEST_BYTES_A_SECOND
        return blob_of(self._connection.call("CopyBlob", request, timeout=seconds).blob)

    def delete(self, name: str) -> None:
        """Delete a blob, or give up its upload. Raises NotFoundError, BlobOwnedError."""
        blob = self.stat(name)
        # Gone now: by an attempt of ours whose answer was lost, or by somebody as quick.
        with suppress(NotFoundError):
            self._connection.call("DeleteBlob", pb.DeleteBlobRequest(blob_id=blob.id))

    def delete_all(self, prefix: str) -> Deleted:
        """Delete all blobs whose names begin with `prefix`, which may not be empty.

        Those that somebody has claimed stay. Raises InvalidFieldError.
        """
        done = self._connection.call("DeleteBlobs", pb.DeleteBlobsRequest(name_prefix=prefix))
        return Deleted(done.deleted_count, done.deleted_bytes, done.owned_count)


def _had(blobs: Sequence[Blob], paths: Sequence[Path]) -> set[str]:
    """The ids of those whose bytes their files have already."""
    asked = [
        (blob.id, path, digest)
        for blob, path in zip(blobs, paths, strict=True)
        if path.is_file() and path.stat().st_size == blob.size_bytes
        if (digest := blob.digest) is not None
    ]
    with ThreadPoolExecutor(_READERS) as readers:
        same = readers.map(lambda one: holds(one[1], one[2]), asked)
        return {one[0] for one, right in zip(asked, same, strict=True) if right}
