"""The large arrays of one result on their way from the store behind a service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimle.asgard.client.grants import grant_of
from gimle.asgard.core.arrays import Array, ArrayRef
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import AsgardError, DocumentError
from gimle.asgard.core.reading import put_back
from gimle.asgard.transfer import Digest, Grant, Progress, Remote, TransferError, Wanted, download
from gimle.asgard.v1 import granted_result_pb2 as granted_pb

if TYPE_CHECKING:
    from gimle.asgard.client.connection import Connection


class Source:
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


def read(
    result: ResultDocument,
    downloads: Sequence[Any],
    source: Source,
    folder: Path,
    nbytes: int,
    tell: Callable[[int], None],
) -> ResultDocument:
    """A result with its arrays in the place of references, downloaded into `folder`.

    Raises `TransferError`, also where the result has changed meanwhile.
    """
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
