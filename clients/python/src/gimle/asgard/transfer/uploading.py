"""Sending files: many small ones at once, large ones in parts, one of each file at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from gimle.asgard.transfer.ahead import Ahead, hashed
from gimle.asgard.transfer.errors import WrongBytesError
from gimle.asgard.transfer.grants import (
    LARGE_BYTES,
    LARGEST_BYTES,
    Begun,
    Grant,
    Measured,
    Outgoing,
    Part,
    Uploads,
    parts_at_once,
)
from gimle.asgard.transfer.lanes import LANES, Task, Work
from gimle.asgard.transfer.line import FilePart
from gimle.asgard.transfer.progress import Listener, Meter, Progress
from gimle.asgard.transfer.requesting import send, send_whole
from gimle.asgard.transfer.small import SMALL_BYTES, SmallFiles
from gimle.asgard.transfer.wire import Wire


def upload(
    files: Iterable[Outgoing],
    to: Uploads,
    *,
    lanes: int = LANES,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Send files; answer what was done.

    A later call for the same files goes on where this one ended, however it ended: parts that
    have arrived are read again but not sent again. Memory is bounded by lanes, not by files.
    Raises OSError for a file that cannot be read, and TransferError or what `to` raises; then no
    file is half there, and others may be there whole.
    """
    sized = [(file, _size(file.path)) for file in files]
    meter = Meter(len(sized), sum(size for _, size in sized), progress)
    uploading = _Uploading(to, meter, stop)
    try:
        uploading.work.add(uploading.tasks(sized))
        uploading.work.run(lanes)
    finally:
        uploading.close()
    return meter.end()


def _size(path: Path) -> int:
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise WrongBytesError(str(path), f"{size:,} bytes are more than an object can have")
    return size


class _Uploading:
    """One call of `upload`."""

    def __init__(self, to: Uploads, meter: Meter, stop: threading.Event | None) -> None:
        self.to = to
        self.meter = meter
        self.work = Work((), stop)
        self._open: list[_Large] = []

    def close(self) -> None:
        """Leave what is unfinished for a later call."""
        for large in self._open:
            large.close()

    def tasks(self, sized: Sequence[tuple[Outgoing, int]]) -> Iterator[Task]:
        """The large files first, for they take longest; small ones by the handful."""
        for file, size in sized:
            if size > LARGE_BYTES:
                yield partial(self._in_parts, file, size)
        for file, size in sized:
            if SMALL_BYTES < size <= LARGE_BYTES:
                yield partial(self._whole, file, size)
        small = [each for each in sized if each[1] <= SMALL_BYTES]
        yield from SmallFiles(small, self.to, self.work, self.meter).tasks()

    def _whole(self, file: Outgoing, size: int, wire: Wire) -> None:
        with file.path.open("rb", buffering=0) as opened:
            body = FilePart(opened.fileno(), 0, size)
            digest = sha256()
            hashed(body, wire.buffer, digest)
            measured = Measured(file, size, digest.digest())
            grant = self.to.whole([measured])[0]
            if grant is not None:
                send_whole(wire, self.work, self.to, measured, grant, body)
                self.to.arrived([measured])
            self.meter.add(1, size, 0 if grant is None else size)

    def _in_parts(self, file: Outgoing, size: int, wire: Wire) -> None:
        """Send a file in parts, one at a time: of a killed upload no more than that is lost.

        Files are parallel to each other. Only the last of them, when lanes have nothing else to do,
        has a second part under way, where two are no more than a part of a larger file.
        """
        begun = self.to.begin(file, size)
        if begun is None:
            self.meter.add(1, size)
            return
        large = _Large(self.to, file, size, begun)
        self._open.append(large)
        self.work.spare([partial(self._send_parts, large)] * (large.senders - 1))
        self._send_parts(large, wire)

    def _send_parts(self, large: _Large, wire: Wire) -> None:
        """Send what is left of a file; whoever sends the last part has them put together."""
        while (taken := large.take()) is not None:
            self.work.check()
            part, grant = taken
            if grant is not None:
                part = self._sent(large, part, grant, wire)
            self.meter.add(0, part.size, 0 if grant is None else part.size)
            if large.arrived(part):
                large.complete()
                self.meter.add(1)

    def _sent(self, large: _Large, part: Part, grant: Grant, wire: Wire) -> Part:
        def renew() -> Grant:
            return self.to.parts(large.begun, [part])[0]

        body = large.ahead.body(part.number)
        return replace(part, etag=send(wire, self.work, large.begun.name, grant, body, renew))


class _Large:
    """A file that goes in parts, sent by at most `senders` lanes. Its methods are thread-safe."""

    def __init__(self, to: Uploads, file: Outgoing, size: int, begun: Begun) -> None:
        self.begun = begun
        self._to, self._file, self._size = to, file, size
        self._left = -(-size // begun.part_bytes)
        self.senders = min(parts_at_once(begun.part_bytes), self._left)
        self._opened = file.path.open("rb", buffering=0)
        self.ahead = Ahead(self._opened.fileno(), size, begun.part_bytes, to.wants_sha256)
        self._grants: dict[int, Grant] = {}
        self._parts: dict[int, Part] = {}
        self._lock = threading.Lock()

    def take(self) -> tuple[Part, Grant | None] | None:
        """The next part and leave to send it, which one that is there needs not."""
        with self._lock:
            part = self.ahead.next()
            if part is None:
                return None
            if _has(self.begun, part):
                return self.begun.arrived[part.number], None
            if part.number not in self._grants:
                asked = [part, *(one for one in self.ahead.hashed() if not _has(self.begun, one))]
                lent = self._to.parts(self.begun, asked)
                self._grants = {one.number: leave for one, leave in zip(asked, lent, strict=True)}
            return part, self._grants[part.number]

    def arrived(self, part: Part) -> bool:
        """The place has a part; whether it has them all now."""
        with self._lock:
            self._parts[part.number] = part
            self._left -= 1
            return self._left == 0

    def complete(self) -> None:
        """Have the parts put together."""
        measured = Measured(self._file, self._size, self.ahead.whole())
        parts = [self._parts[number] for number in sorted(self._parts)]
        self._to.complete(self.begun, measured, parts)
        self.close()

    def close(self) -> None:
        """Leave it for a later call, or for good. Closing again is nothing."""
        self.ahead.close()
        self._opened.close()


def _has(begun: Begun, part: Part) -> bool:
    """Whether an earlier attempt has brought a part."""
    there = begun.arrived.get(part.number)
    return there is not None and (there.size, there.sha256) == (part.size, part.sha256)
