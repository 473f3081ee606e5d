"""A file that is being fetched: beside its target, with what has arrived noted behind its bytes.

    .NAME.asgard-part = the object's bytes, a table of ranges, a line of JSON, its length

The table has a row for each range: how many of its bytes are there, and its digest once all are.
Rows are written after the bytes they speak of, so a process killed at any moment leaves a file that
the next one goes on with. When all is there the table is cut off and the file takes its name.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gimle.asgard.transfer.errors import BusyError

_ROW = struct.Struct("<Q32s")
_LENGTH = struct.Struct("<I")
_NONE = bytes(32)
UNHASHED = b"\xff" * 32
"""Instead of its digest, of a range that is there whole: only all bytes together have one."""

_LONGEST_NAME = 240  # bytes: most file systems take 255


def partial_path(target: Path) -> Path:
    """Where the bytes of `target` are gathered."""
    name = target.name
    if len(name.encode()) > _LONGEST_NAME:
        name = sha256(name.encode()).hexdigest()
    return target.with_name(f".{name}.asgard-part")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fetched and how it is divided: another plan is another file."""

    size: int
    etag: str
    range_bytes: int

    @property
    def ranges(self) -> int:
        """How many ranges there are."""
        return -(-self.size // self.range_bytes)

    def bounds(self, number: int) -> tuple[int, int]:
        """Where a range begins, and where it ends (exclusive)."""
        first = number * self.range_bytes
        return first, min(self.size, first + self.range_bytes)


class Partial:
    """The partial file of one target; this process has it alone."""

    def __init__(self, target: Path, plan: Plan) -> None:
        """Open what an earlier process left of the same plan, else begin. Raises BusyError."""
        self.target = target
        self.plan = plan
        self.path = partial_path(target)
        self.file = locked(self.path)
        try:
            rows = self._rows()
            if rows is None:
                rows = [(0, _NONE)] * plan.ranges
                self._begin()
        except BaseException:
            os.close(self.file)
            raise
        self._received = [
            min(count, plan.bounds(n)[1] - plan.bounds(n)[0]) for n, (count, _) in enumerate(rows)
        ]
        self._digests = [digest for _, digest in rows]

    def _rows(self) -> list[tuple[int, bytes]] | None:
        """The table that lies there, None when it is of another plan."""
        table = _ROW.size * self.plan.ranges
        tail = self._tail()
        if os.fstat(self.file).st_size != self.plan.size + table + len(tail):
            return None
        if os.pread(self.file, len(tail), self.plan.size + table) != tail:
            return None
        raw = os.pread(self.file, table, self.plan.size)
        return [(count, digest) for count, digest in _ROW.iter_unpack(raw)]

    def _tail(self) -> bytes:
        line = json.dumps([1, self.plan.size, self.plan.etag, self.plan.range_bytes]).encode()
        return line + _LENGTH.pack(len(line))

    def _begin(self) -> None:
        emptied(self.file)
        size = self.plan.size + _ROW.size * self.plan.ranges
        room = os.fstatvfs(self.file)
        if room.f_bavail * room.f_frsize < size:
            # Said before a byte has been fetched.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.target))
        os.ftruncate(self.file, size)
        os.pwrite(self.file, self._tail(), size)

    def received(self, number: int) -> int:
        """How many bytes of a range are there, from its beginning."""
        return self._received[number]

    def digest(self, number: int) -> bytes | None:
        """The digest of a range that is there whole, else None."""
        return None if self._digests[number] == _NONE else self._digests[number]

    def note(self, number: int, received: int, digest: bytes = b"") -> None:
        """So many bytes of a range are there now; all of them when their digest is given."""
        self._received[number] = received
        if digest:
            self._digests[number] = digest.ljust(32, b"\0")
        row = _ROW.pack(received, self._digests[number])
        os.pwrite(self.file, row, self.plan.size + _ROW.size * number)

    def finish(self) -> None:
        """All is there and right: give the file its name."""
        os.ftruncate(self.file, self.plan.size)
        os.replace(self.path, self.target)
        self.close()

    def discard(self) -> None:
        """The bytes are wrong: begin from nothing next time."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave it for a later call. Closing again is nothing."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def locked(path: Path) -> int:
    """Open a partial file that no other process may write meanwhile. Raises BusyError."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise BusyError(str(path)) from None
        # Another process may have finished and renamed it between open and flock.
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file
        os.close(file)


@contextmanager
def appearing(target: Path) -> Iterator[int]:
    """An empty file that becomes `target` when all has been written, and vanishes otherwise.

    Raises BusyError.
    """
    beside = partial_path(target)
    file = locked(beside)
    try:
        emptied(file)
        yield file
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    finally:
        os.close(file)


def emptied(file: int) -> None:
    """Make a file empty that is not: ext4 writes out at close what was ever cut to nothing."""
    if os.fstat(file).st_size:
        os.ftruncate(file, 0)
