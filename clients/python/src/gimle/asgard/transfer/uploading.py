"""Sending files: many small ones at once, large ones part by part."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

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
)
from gimle.asgard.transfer.lanes import LANES, Task, Work
from gimle.asgard.transfer.progress import Listener, Meter, Progress
from gimle.asgard.transfer.requesting import send
from gimle.asgard.transfer.wire import CHUNK_BYTES, Body, FilePart, Wire, WireError

if TYPE_CHECKING:
    from hashlib import _Hash

_SMALL_BYTES = 1 << 20
_BATCH_FILES, _BATCH_BYTES = 32, 1 << 22
_AHEAD_PARTS = 16
"""How many parts may be hashed before they are sent: leave to send them is asked for together."""


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
    uploading.work.add(uploading.tasks(sized))
    uploading.work.run(lanes)
    return meter.end()


def tree(folder: Path, prefix: str) -> Iterator[Outgoing]:
    """Every file below a folder, named `prefix/` and its path inside."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield Outgoing(path, f"{prefix}/{path.relative_to(folder).as_posix()}".lstrip("/"))


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

    def tasks(self, sized: Sequence[tuple[Outgoing, int]]) -> Iterator[Task]:
        """The large files first, for they take longest; small ones by the handful."""
        for file, size in sized:
            if size > LARGE_BYTES:
                yield partial(self._in_parts, file, size)
        for file, size in sized:
            if _SMALL_BYTES < size <= LARGE_BYTES:
                yield partial(self._whole, file, size)
        batch: list[Outgoing] = []
        bytes = 0
        for file, size in sized:
            if size > _SMALL_BYTES:
                continue
            if len(batch) == _BATCH_FILES or (batch and bytes + size > _BATCH_BYTES):
                yield partial(self._small, batch)
                batch, bytes = [], 0
            batch.append(file)
            bytes += size
        if batch:
            yield partial(self._small, batch)

    def _small(self, files: Sequence[Outgoing], wire: Wire) -> None:
        self.work.check()
        bodies = [file.path.read_bytes() for file in files]
        measured = [
            Measured(file, len(body), sha256(body).digest())
            for file, body in zip(files, bodies, strict=True)
        ]
        grants = self.to.whole(measured)
        for one, body, grant in zip(measured, bodies, grants, strict=True):
            if grant is not None:
                self._send(one, grant, body, wire)
            self.meter.add(1, one.size, 0 if grant is None else one.size)
        self.to.arrived([one for one, grant in zip(measured, grants, strict=True) if grant])

    def _whole(self, file: Outgoing, size: int, wire: Wire) -> None:
        with file.path.open("rb", buffering=0) as opened:
            body = FilePart(opened.fileno(), 0, size)
            measured = Measured(file, size, _hashed(body, wire.buffer, sha256()))
            grant = self.to.whole([measured])[0]
            if grant is not None:
                self._send(measured, grant, body, wire)
                self.to.arrived([measured])
            self.meter.add(1, size, 0 if grant is None else size)

    def _send(self, measured: Measured, grant: Grant, body: Body, wire: Wire) -> None:
        name, there = measured.file.name, partial(self.to.there, measured)
        send(wire, self.work, name, grant, body, self._renewed(measured), there)

    def _renewed(self, measured: Measured) -> Callable[[], Grant]:
        def renew() -> Grant:
            grant = self.to.whole([measured])[0]
            if grant is None:
                raise WrongBytesError(measured.file.name, "somebody else has sent it meanwhile")
            return grant

        return renew

    def _in_parts(self, file: Outgoing, size: int, wire: Wire) -> None:
        """Send a file part by part: of a killed upload no more than one is lost."""
        begun = self.to.begin(file, size)
        if begun is None:
            self.meter.add(1, size)
            return
        parts = []
        with (
            file.path.open("rb", buffering=0) as opened,
            _Ahead(opened.fileno(), size, begun.part_bytes, self.to.wants_sha256) as ahead,
        ):
            grants: dict[int, Grant] = {}
            for part in ahead:
                self.work.check()
                if _has(begun, part):
                    parts.append(begun.arrived[part.number])
                    self.meter.add(0, part.size)
                    continue
                if part.number not in grants:
                    asked = [part, *(one for one in ahead.hashed() if not _has(begun, one))]
                    lent = self.to.parts(begun, asked)
                    grants = {one.number: grant for one, grant in zip(asked, lent, strict=True)}
                body = FilePart(opened.fileno(), (part.number - 1) * begun.part_bytes, part.size)
                parts.append(self._sent(begun, part, grants[part.number], body, wire))
                self.meter.add(0, part.size, part.size)
            digest = ahead.whole()
        self.to.complete(begun, Measured(file, size, digest), parts)
        self.meter.add(1)

    def _sent(self, begun: Begun, part: Part, grant: Grant, body: FilePart, wire: Wire) -> Part:
        def renew() -> Grant:
            return self.to.parts(begun, [part])[0]

        return replace(part, etag=send(wire, self.work, begun.name, grant, body, renew))


def _has(begun: Begun, part: Part) -> bool:
    """Whether an earlier attempt has brought a part."""
    there = begun.arrived.get(part.number)
    return there is not None and (there.size, there.sha256) == (part.size, part.sha256)


class _Ahead:
    """The parts of a file; those that come are read and hashed while the caller is at one."""

    def __init__(self, fd: int, size: int, each: int, whole: bool) -> None:
        self._file = fd
        self._size, self._each = size, each
        self._whole = sha256() if whole else None
        self._following: Future[None] | None = None
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._numbers = iter(range(1, -(-size // each) + 1))
        self._thread = ThreadPoolExecutor(1)
        self._coming: deque[Future[Part]] = deque()

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Part]:
        while self._fill():
            yield self._coming.popleft().result()

    def _fill(self) -> bool:
        while len(self._coming) < _AHEAD_PARTS and (number := next(self._numbers, None)):
            self._coming.append(self._thread.submit(self._read, number))
            if self._whole is not None:
                # After the part's own digest, which is waited for.
                self._following = self._thread.submit(self._follow, number, self._whole)
        return bool(self._coming)

    def hashed(self) -> Iterator[Part]:
        """The parts behind the last one that have been hashed already."""
        self._fill()
        for one in self._coming:
            if not one.done():
                return
            yield one.result()

    def whole(self) -> bytes | None:
        """The digest of all parts, None when it was not asked for."""
        if self._whole is None:
            return None
        if self._following is not None:
            self._following.result()
        return self._whole.digest()

    def _read(self, number: int) -> Part:
        part = self._part(number)
        return Part(number, part.size, _hashed(part, self._buffer, sha256()))

    def _follow(self, number: int, whole: _Hash) -> None:
        _hashed(self._part(number), self._buffer, whole)

    def _part(self, number: int) -> FilePart:
        first = (number - 1) * self._each
        return FilePart(self._file, first, min(self._each, self._size - first))


def _hashed(part: FilePart, buffer: memoryview, hash: _Hash) -> bytes:
    """Hash a part of a file; answer the digest of all that the hash has taken."""
    offset, left = part.offset, part.size
    while left:
        count = os.preadv(part.file, [buffer[: min(left, len(buffer))]], offset)
        if count == 0:
            raise WireError("the file became shorter while it was read")
        hash.update(buffer[:count])
        offset, left = offset + count, left - count
    return hash.digest()
