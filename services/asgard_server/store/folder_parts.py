"""Parts of uploads in a folder, and how they become one file without taking their room twice.

.asgard/uploads/parts/{upload}/{number}.{sha256}  a part; without a byte once it is in `whole`
.asgard/uploads/parts/{upload}/whole              what is together so far, under flock(2)

Each part goes to its place in `whole`, which is flushed to the disk, and only then gives up its
own bytes; its name stays and says what they are. So whoever is killed at any moment leaves every
part either as it came or in `whole`, and the next one goes on (docs/protocols.md 12).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from gimle.asgard.core.errors import UploadIncompleteError

from asgard_server.blob.domain import Target
from asgard_server.blob.parts import Part, part_bytes, part_count, part_size
from asgard_server.store.folder_incoming import appear, sync_folder

STEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,200}")
"""A step of a path of ours, such as what an upload is called."""
_PART = re.compile(r"(\d{5})\.([0-9a-f]{64})")
_WHOLE = "whole"
_PIECE = 1 << 20


class FolderParts:
    """The parts of all uploads below `folder`. Methods wait for the disk, and raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, upload_id: str, number: int, sha256: str) -> Path:
        """Where a part comes to lie."""
        return _part_path(self._of(upload_id), number, sha256)

    def begin(self, upload_id: str, *, again: bool = False) -> None:
        """Make room for the parts of an upload, which may be there already if `again`."""
        self._of(upload_id).mkdir(parents=True, exist_ok=again)

    def goes_on(self, upload_id: str) -> bool:
        """Whether there is such an upload."""
        return self._of(upload_id).is_dir()

    def drop(self, upload_id: str) -> None:
        """Remove all of an upload. One that is gone is no error."""
        shutil.rmtree(self._of(upload_id), ignore_errors=True)

    def arrived(self, upload_id: str, size_bytes: int) -> list[Part] | None:
        """The parts of an upload of so many bytes that are there; None when it is not."""
        folder = self._of(upload_id)
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return None
        last: dict[int, tuple[int, Part]] = {}
        for entry in entries:
            if name := _PART.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # they are together by now
                    stat = entry.stat()
                    part = Part(int(name[1]), stat.st_size, name[2])
                    # A part may be sent again with other bytes: the last one counts. One that is
                    # emptied was put into the whole last.
                    last[part.number] = max(
                        last.get(part.number, (0, part)), (stat.st_mtime_ns, part)
                    )
        # After the parts: one that is empty was in there before it was.
        together = _size(folder / _WHOLE)
        parts = (_known(part, size_bytes, together) for _, (_, part) in sorted(last.items()))
        return [part for part in parts if part is not None]

    def put_together(self, blob: Target, parts: Sequence[Part], path: Path) -> None:
        """Let all bytes appear at `path`, unless there are some, and remove the parts.

        Of several who do that at once one does, and the others wait for it. One who dies, or finds
        no room, leaves all to the next. Raises UploadIncompleteError for bytes that are damaged.
        """
        folder = self._of(blob.upload_id or "")
        try:
            with _alone(folder / _WHOLE) as whole:
                if not path.exists():
                    sync_folder(folder)  # before any part relies on it
                    sha256 = _joined(folder, whole, blob, parts)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    appear(folder / _WHOLE, path, sha256)
        except FileNotFoundError:
            return  # somebody else has put them together
        self.drop(blob.upload_id or "")

    def _of(self, upload_id: str) -> Path:
        if not STEP.fullmatch(upload_id):
            raise ValueError(f"{upload_id!r} is not an upload")
        return self._folder / upload_id


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[int]:
    """A handle of the file at `path`, which is made if need be, for one at a time.

    Raises FileNotFoundError when its folder is gone.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Else who had it before has removed it, with its folder.
            if _is_at(path, handle):
                yield handle
                return
        finally:
            os.close(handle)


def _part_path(folder: Path, number: int, sha256: str) -> Path:
    return folder / f"{number:05}.{sha256}"


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _known(part: Part, size_bytes: int, together: int) -> Part | None:
    """A part with the size of its bytes, None where those of an emptied one are not there."""
    if part.size_bytes:
        return part
    if not 1 <= part.number <= part_count(size_bytes):
        return None
    size = part_bytes(size_bytes, part.number)
    end = (part.number - 1) * part_size(size_bytes) + size
    return part._replace(size_bytes=size) if end <= together else None


def _joined(folder: Path, whole: int, blob: Target, parts: Sequence[Part]) -> str:
    """Put each part into its place of the whole, and answer the SHA-256 of that."""
    size = blob.size_bytes or 0
    digest = hashlib.sha256()
    for part in parts:
        path = _part_path(folder, part.number, part.sha256)
        at = (part.number - 1) * part_size(size)
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if there := os.fstat(handle).st_size:
                for piece in _moved(handle, there, whole, at):
                    digest.update(piece)
                # From here on the whole has them, also when the power fails.
                os.ftruncate(handle, 0)
                continue
        finally:
            os.close(handle)
        found = hashlib.sha256()
        for piece in _pieces(whole, at, part_bytes(size, part.number)):
            digest.update(piece)
            found.update(piece)
        if found.hexdigest() != part.sha256:
            path.unlink()
            raise UploadIncompleteError(
                blob.key, f"part {part.number} is damaged: send it again", (part.number,)
            )
    os.ftruncate(whole, size)
    os.fsync(whole)
    return digest.hexdigest()


def _moved(part: int, size: int, whole: int, at: int) -> Iterator[bytes]:
    """The bytes of a part, which are on the disk in the whole when there are no more."""
    before = os.fstat(whole).st_size
    try:
        for piece in _pieces(part, 0, size):
            left = memoryview(piece)
            while left:
                count = os.pwrite(whole, left, at)
                left, at = left[count:], at + count
            yield piece
        os.fsync(whole)
    except OSError:
        # For want of room: leave to others what there was.
        with contextlib.suppress(OSError):
            os.ftruncate(whole, before)
        raise


def _pieces(handle: int, at: int, size: int) -> Iterator[bytes]:
    """The bytes of a file from `at` on, `size` of them at most."""
    end = at + size
    while at < end and (piece := os.pread(handle, min(_PIECE, end - at), at)):
        yield piece
        at += len(piece)
