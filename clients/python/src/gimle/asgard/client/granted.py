"""Large arrays on their own way: straight to and from the store behind a service.

The service lends single requests; bytes never pass it. Where nobody lends, or the store cannot
be reached from here, arrays go through the service in pieces.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimle.asgard.client.array_bytes import ArrayBytes
from gimle.asgard.client.grants import grant_of
from gimle.asgard.client.outgoing import STREAMED_BYTES, Outgoing
from gimle.asgard.client.sending import Sending
from gimle.asgard.core import exact
from gimle.asgard.core.arrays import Array, ArrayRef
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import (
    AsgardError,
    DigestMismatchError,
    DocumentError,
    GrantsUnavailableError,
    StorageFullError,
    UnknownMethodError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.core.growth import grows_on_second_axis
from gimle.asgard.core.reading import put_back
from gimle.asgard.transfer import (
    LARGE_BYTES,
    Digest,
    Grant,
    Progress,
    Remote,
    TransferError,
    TransferStoppedError,
    Wanted,
    download,
)
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import UploadedArray

if TYPE_CHECKING:
    from gimle.asgard.client.connection import Connection

_log = logging.getLogger("gimle.asgard")

_SAVING = ("AddResult", "SaveRun", "AppendResult")

GRANTS_LOST = (UploadEndedError, UploadIncompleteError, DigestMismatchError)
"""What the service says of arrays that are not in the store as they were sent."""


@dataclass(frozen=True, slots=True)
class _Large:
    """An array of a call that goes by itself: its key, where it stands, and its file."""

    result: int
    key: str
    path: tuple[str, ...]
    ref: ArrayRef
    file: ArrayBytes


class GrantedArrays:
    """Moves the large arrays of one connection's calls. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told = False
        self._unavailable = False

    # To the store

    def sent(self, call: Outgoing, patience: float | None) -> Outgoing | None:
        """Put the large arrays of a call into the store; answer the call that names them.

        None when they have to go with the call. Raises as calls do.
        """
        if self._unavailable or call.method not in _SAVING:
            return None
        large = _large(call, self._grows_on_second_axis)
        if not large:
            return None
        try:
            uploaded = _Upload(self._connection, call, large, patience).done()
        except UnknownMethodError:
            self._unavailable = True  # a service of before: so it has always been
            return None
        except GrantsUnavailableError as error:
            self._tell(str(error))
            self._unavailable = True
            return None
        except TransferStoppedError:
            raise
        except TransferError as error:
            self._tell(
                f"{error}; let this machine reach the store by the address that URLs are signed "
                "for (ASGARD_S3_PUBLIC_ENDPOINT of the service)"
            )
            return None
        return None if uploaded is None else _naming(call, large, uploaded)

    def _grows_on_second_axis(self, call: Outgoing, new: Any, path: tuple[str, ...]) -> bool:
        """Whether the rows of a field are along its second axis."""
        if call.method != "AppendResult":
            return grows_on_second_axis(new.result_type, path)
        if not grows_on_second_axis("StochasticEnsemble", path):
            return False
        request = pb.GetResultRequest(result_id=new.result_id)
        stored = self._connection.call("GetResult", request).result
        return grows_on_second_axis(stored.result_type, path)

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            place = self._connection.place
            _log.warning("large arrays go through the service %s: %s", place, why)

    # From the store

    def fetched(self, result: ResultDocument, nbytes: int) -> ResultDocument | None:
        """A result with its arrays in the place of references; those above 1 MiB are mapped files.

        The files have no name and go with the arrays. None when it has to be read through the
        service. Raises as calls do.
        """
        if self._unavailable:
            return None
        source = _Source(self._connection, result.id)
        try:
            message = source.ask()
            tell = self._connection.telling("down", result.id, nbytes, self._connection.attempts())
            with tempfile.TemporaryDirectory(prefix="asgard-") as folder:
                return _read(result, message.downloads, source, Path(folder), nbytes, tell)
        except UnknownMethodError:
            self._unavailable = True
        except GrantsUnavailableError as error:
            self._tell(str(error))
            self._unavailable = True
        except StorageFullError:
            raise
        except TransferStoppedError:
            raise
        except TransferError as error:
            # It may also have grown meanwhile, where files are not written once.
            _log.info("%s is read through the service: %s", result.id, error)
        return None


class _Upload:
    """The arrays of one call on their way to the store."""

    def __init__(
        self,
        connection: Connection,
        call: Outgoing,
        large: Sequence[_Large],
        patience: float | None,
    ) -> None:
        self._connection = connection
        self._call = call
        self._large = large
        self._patience = patience

    def done(self) -> Mapping[tuple[int, str], UploadedArray] | None:
        """Send what has not arrived; answer the digests by result and key.

        None when a result is stored already, nobody knows how.
        """
        total = sum(each.file.nbytes for each in self._large)
        tell = self._connection.telling(
            "up", self._call.id, total, self._connection.attempts(self._patience)
        )
        sending = Sending(lambda gone: tell(min(gone, total)))
        sending.measure([each.file for each in self._large if each.file.size <= LARGE_BYTES])
        answer = self._ask()
        if any(each.stored for each in answer.results):
            return None
        ways = {
            (number, array.key): array
            for number, upload in zip(self._numbers(), answer.results, strict=True)
            for array in upload.arrays
        }
        for each in self._large:
            way = ways[each.result, each.key]
            if each.file.size <= LARGE_BYTES:
                sending.whole(each.file, way, self._again(each))
            else:
                sending.in_parts(each.file, way, self._sign(each))
        sending.run()
        tell(total)
        return {(each.result, each.key): sending.digests(each.file) for each in self._large}

    def _numbers(self) -> list[int]:
        return list(dict.fromkeys(each.result for each in self._large))

    def _ask(self) -> granted_pb.CreateResultUploadsResponse:
        request, method = self._call.request, self._call.method
        asked = granted_pb.CreateResultUploadsRequest(run_follows=method == "SaveRun")
        if method != "AppendResult":
            asked.run_id = request.run.run_id if method == "SaveRun" else request.run_id
        for number in self._numbers():
            new = _results(self._call)[number]
            upload = asked.results.add(result_id=_upload_id(self._call, new))
            if method == "AppendResult":
                upload.grows_result_id = new.result_id
            else:
                upload.result_type = new.result_type
            for each in self._large:
                if each.result == number:
                    upload.arrays.add(
                        key=each.key,
                        path=each.path,
                        dtype=exact.dumps(each.ref.dtype),
                        shape=each.ref.shape,
                        sha256=each.file.sha256 or "",
                    )
        answer: granted_pb.CreateResultUploadsResponse = self._connection.call(
            "CreateResultUploads", asked, patience=self._patience
        )
        return answer

    def _again(self, large: _Large) -> Callable[[], Any]:
        """What asks for the grants anew."""

        def ask() -> Any:
            place = self._numbers().index(large.result)
            return next(a for a in self._ask().results[place].arrays if a.key == large.key)

        return ask

    def _sign(self, large: _Large) -> Callable[[int, bytes], Grant]:
        result_id = _upload_id(self._call, _results(self._call)[large.result])

        def sign(number: int, sha256: bytes) -> Grant:
            request = granted_pb.SignResultPartsRequest(result_id=result_id, key=large.key)
            request.parts.add(number=number, sha256=sha256.hex())
            (grant,) = self._connection.call(
                "SignResultParts", request, patience=self._patience
            ).grants
            return grant_of(grant)

        return sign


def _results(call: Outgoing) -> Sequence[Any]:
    """What has data and uploaded arrays in a call: results, or an append itself."""
    if call.method == "AppendResult":
        return [call.request]
    return call.request.results if call.method == "SaveRun" else [call.request.result]


def _upload_id(call: Outgoing, new: Any) -> str:
    """The id under which arrays are uploaded, "" where a call has none."""
    id: str = new.upload_id if call.method == "AppendResult" else new.result_id
    return id


def _large(
    call: Outgoing, second_axis: Callable[[Outgoing, Any, tuple[str, ...]], bool]
) -> list[_Large]:
    """The arrays of a call that are large each by itself."""
    found = []
    for number, (new, arrays) in enumerate(zip(_results(call), call.arrays, strict=True)):
        keys = {key for key, array in arrays.items() if array.nbytes > STREAMED_BYTES}
        if not keys or not _upload_id(call, new):
            continue
        for path, ref in _places(exact.loads(new.data), ()):
            if ref.path in keys:
                second = len(ref.shape) > 1 and second_axis(call, new, path)
                file = ArrayBytes(arrays[ref.path], ref.dtype, exchanged=second)
                found.append(_Large(number, ref.path, path, ref, file))
    return found


def _places(value: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], ArrayRef]]:
    """Every reference in data, and where it stands."""
    if isinstance(value, ArrayRef):
        return [(path, value)]
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((i, item) for i, item in enumerate(value) if type(item) in (dict, list, ArrayRef))
    return [found for key, item in items for found in _places(item, (*path, str(key)))]


def _naming(
    call: Outgoing,
    large: Sequence[_Large],
    uploaded: Mapping[tuple[int, str], UploadedArray],
) -> Outgoing:
    """The call with its large arrays named instead of brought along."""
    request = type(call.request)()
    request.CopyFrom(call.request)
    gone = {(each.result, each.key) for each in large}
    named = Outgoing(
        call.method,
        call.id,
        request,
        tuple(
            {key: array for key, array in arrays.items() if (number, key) not in gone}
            for number, arrays in enumerate(call.arrays)
        ),
    )
    for (number, key), digests in uploaded.items():
        _results(named)[number].uploaded[key].CopyFrom(digests)
    return named


class _Source:
    """Grants of the files of one result."""

    def __init__(self, connection: Connection, result_id: str) -> None:
        self._connection = connection
        self._request = granted_pb.CreateResultDownloadsRequest(result_id=result_id)
        self._lock = threading.Lock()
        self._first: dict[str, Grant] = {}

    def ask(self) -> granted_pb.CreateResultDownloadsResponse:
        """Ask for all of them."""
        answer: granted_pb.CreateResultDownloadsResponse = self._connection.call(
            "CreateResultDownloads", self._request
        )
        with self._lock:
            self._first = {each.path: grant_of(each.grant) for each in answer.downloads}
        return answer

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        """Leave to read each of these; anew when it is asked for a second time."""
        with self._lock:
            known = [self._first.pop(one.name, None) for one in objects]
        if any(grant is None for grant in known):
            self.ask()
            with self._lock:
                return [self._first[one.name] for one in objects]
        return [grant for grant in known if grant is not None]

    def described(self, remote: Remote) -> Remote:
        """As it is: the service has said all there is."""
        return remote


def _read(
    result: ResultDocument,
    downloads: Sequence[Any],
    source: _Source,
    folder: Path,
    nbytes: int,
    tell: Callable[[int], None],
) -> ResultDocument:
    from gimle.asgard.client.fetched import loaded  # numpy's maps: only when something is read

    def told(progress: Progress) -> None:
        tell(min(progress.bytes_done, nbytes))

    targets = {each.path: folder / f"{number}.npy" for number, each in enumerate(downloads)}
    try:
        download(
            [Wanted(_remote(each), targets[each.path]) for each in downloads],
            source,
            progress=told,
        )
    except OSError as error:
        if isinstance(error, AsgardError):
            raise
        raise TransferError(f"{folder}: {error}; set TMPDIR to a folder with room") from error
    tell(nbytes)

    def load(ref: ArrayRef) -> Array:
        if any(path not in targets for path, _ in ref.files):
            raise DocumentError(result.id, "it has changed meanwhile")
        return loaded(ref, targets, folder, result.id)

    try:
        data = {key: put_back(value, load) for key, value in result.data.items()}
    except DocumentError as error:
        raise TransferError(str(error)) from error
    return ResultDocument(
        result.id, result.run_id, result.result_type, data, result.created_at, result.display
    )


def _remote(message: Any) -> Remote:
    digest = None
    if message.sha256:
        digest = Digest("sha256", bytes.fromhex(message.sha256))
    elif message.sha256_parts:
        digest = Digest("sha256", bytes.fromhex(message.sha256_parts), message.part_size_bytes)
    return Remote(message.path, message.size_bytes, message.etag, digest)
