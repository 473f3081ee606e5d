"""Fetching objects: small ones by the handful, large ones by ranges; all checked, then shown."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from gimle.asgard.transfer.arriving import compare, rehashed, written
from gimle.asgard.transfer.errors import WireError, WrongBytesError
from gimle.asgard.transfer.fetching import SmallObjects, Wanted, refused
from gimle.asgard.transfer.grants import RANGE_BYTES, Downloads, Grant, Remote
from gimle.asgard.transfer.lanes import LANES, Task, Work
from gimle.asgard.transfer.partial import UNHASHED, Partial, Plan
from gimle.asgard.transfer.patience import patiently
from gimle.asgard.transfer.progress import Listener, Meter, Progress
from gimle.asgard.transfer.requesting import fresh, reading
from gimle.asgard.transfer.wire import Wire

if TYPE_CHECKING:
    from hashlib import _Hash

_NOTED_BYTES = 1 << 20
"""How often it is noted how far a range is."""

_RANGES_AT_ONCE = 3
"""Of one object. What is under way when a process is killed stays below a part."""


def download(
    wanted: Iterable[Wanted],
    source: Downloads,
    *,
    lanes: int = LANES,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> Progress:
    """Fetch objects; answer what was done.

    A target appears whole and checked, or not at all; its folder is made. A later call goes on
    where this one ended, however it ended. Memory is bounded by lanes, not by files.
    Raises WrongBytesError, RefusedError, BusyError, WireError, or what `source` raises.
    """
    asked = list(wanted)
    meter = Meter(len(asked), sum(one.remote.size for one in asked), progress)
    downloading = _Downloading(source, meter, stop)
    for folder in {one.target.parent for one in asked}:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        downloading.work.add(downloading.tasks(asked))
        downloading.work.run(lanes)
    finally:
        downloading.close()
    return meter.end()


class _Downloading:
    """One call of `download`."""

    def __init__(self, source: Downloads, meter: Meter, stop: threading.Event | None) -> None:
        self.source = source
        self.meter = meter
        self.work = Work((), stop)
        self._open: set[_Large] = set()
        self._lock = threading.Lock()

    def tasks(self, wanted: Sequence[Wanted]) -> Iterator[Task]:
        """Large objects first, for they take longest; small ones by the handful."""
        small: list[Wanted] = []
        for one in wanted:
            if one.remote.is_small:
                small.append(one)
            else:
                yield partial(self._large, one)
        yield from SmallObjects(small, self.source, self.work, self.meter).tasks()

    def close(self) -> None:
        """Leave what is unfinished for a later call."""
        for large in self._open:
            large.file.close()

    def _large(self, one: Wanted, wire: Wire) -> None:
        remote = one.remote if one.remote.digest else self.source.described(one.remote)
        if one.remote.etag and remote.etag != one.remote.etag:
            raise WrongBytesError(remote.name, "it changed after it was listed; ask again")
        digest = remote.digest
        each = RANGE_BYTES
        if digest is not None and digest.part_bytes is not None:
            each = min(digest.part_bytes, remote.size)
        file = Partial(one.target, Plan(remote.size, remote.etag, each))
        large = _Large(remote, file, self.source.grants([remote])[0])
        if digest is not None and digest.part_bytes is None:
            large.hash = digest.hash()
        with self._lock:
            self._open.add(large)
        large.waiting.extend(n for n in range(file.plan.ranges) if file.digest(n) is None)
        large.left = len(large.waiting)
        self.meter.add(0, sum(map(file.received, range(file.plan.ranges))))
        if large.left == 0 and (large.hash is None or self._followed(large, wire)):
            self._finish(large)
        for _ in range(min(_RANGES_AT_ONCE, large.left)):
            self._next_range(large)

    def _next_range(self, large: _Large) -> None:
        with self._lock:
            number = large.waiting.popleft() if large.waiting else None
        if number is not None:
            self.work.add([partial(self._range, large, number)])

    def _range(self, large: _Large, number: int, wire: Wire) -> None:
        patiently(partial(self._fetch_range, large, number, wire), self.work.stop)
        with self._lock:
            large.left -= 1
            last = large.left == 0
        self._next_range(large)
        if self._followed(large, wire) if large.hash is not None else last:
            self._finish(large)

    def _fetch_range(self, large: _Large, number: int, wire: Wire) -> None:
        """Fetch what is missing of a range, noting each chunk."""
        self.work.check()
        file, plan = large.file, large.file.plan
        first, end = plan.bounds(number)
        digest = large.remote.digest
        hash = None if digest is None or digest.part_bytes is None else digest.hash()
        offset = first + file.received(number)
        if hash is not None:
            rehashed(file, first, offset, hash, wire.buffer)
        if offset < end:
            grant = large.grant = self._fresh(large.remote, large.grant)
            headers = reading(grant, large.remote.etag, offset, end - 1)
            with wire.request(grant.method, grant.url, headers) as answer:
                if answer.status != 206:
                    raise refused(large.remote, answer)
                while offset < end and (count := answer.read_into(wire.buffer)):
                    chunk = wire.buffer[:count]
                    if hash is not None:
                        hash.update(chunk)
                    written(file.file, chunk, offset, file.target)
                    offset += count
                    if offset - first >= file.received(number) + _NOTED_BYTES:
                        file.note(number, offset - first)
                    self.meter.add(0, count, count)
                    self.work.check()
            if offset != end:
                raise WireError(f"{large.remote.name}: the answer ended before its time")
        file.note(number, end - first, UNHASHED if hash is None else hash.digest())

    def _followed(self, large: _Large, wire: Wire) -> bool:
        """Hash all ranges that are there, in their order; whether the last one was hashed here.

        The digest of all bytes is made while others are fetched. One lane at a time does it.
        """
        while True:
            with self._lock:
                number, plan = large.followed, large.file.plan
                if large.hash is None or large.following or number == plan.ranges:
                    return False
                if large.file.digest(number) is None:
                    return False
                large.following = True
            rehashed(large.file, *plan.bounds(number), large.hash, wire.buffer)
            self.work.check()
            with self._lock:
                large.followed += 1
                large.following = False
                if large.followed == plan.ranges:
                    return True

    def _finish(self, large: _Large) -> None:
        """All ranges are there: compare, and let the file appear."""
        digest, file = large.remote.digest, large.file
        if digest is not None:
            if large.hash is not None:
                found = large.hash.digest()
            else:
                size = digest.hash().digest_size
                parts = (file.digest(n) or b"" for n in range(file.plan.ranges))
                found = digest.over(part[:size] for part in parts)
            try:
                compare(large.remote.name, found, digest.value)
            except WrongBytesError:
                file.discard()
                raise
        file.finish()
        with self._lock:
            self._open.discard(large)
        self.meter.add(1)

    def _fresh(self, remote: Remote, grant: Grant) -> Grant:
        return fresh(grant, lambda: self.source.grants([remote])[0])


@dataclass(eq=False, slots=True)
class _Large:
    """An object that is fetched by ranges: `left` are not there yet, `waiting` not begun.

    Where the digest is of all its bytes, `hash` has taken those of the ranges below `followed`.
    """

    remote: Remote
    file: Partial
    grant: Grant
    left: int = 0
    waiting: deque[int] = field(default_factory=deque)
    hash: _Hash | None = None
    followed: int = 0
    following: bool = False
