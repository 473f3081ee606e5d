"""Fetching objects: small ones by the handful, large ones by ranges; all checked, then shown."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gimle.asgard.transfer.answer import Answer
from gimle.asgard.transfer.arriving import compare, copied, rehashed, written
from gimle.asgard.transfer.bucket import refusal
from gimle.asgard.transfer.digests import Digest
from gimle.asgard.transfer.errors import RefusedError, WireError, WrongBytesError
from gimle.asgard.transfer.grants import Downloads, Grant, Remote
from gimle.asgard.transfer.lanes import LANES, Task, Work
from gimle.asgard.transfer.partial import (
    UNHASHED,
    Partial,
    Plan,
    emptied,
    locked,
    partial_path,
)
from gimle.asgard.transfer.patience import patiently
from gimle.asgard.transfer.progress import Listener, Meter, Progress
from gimle.asgard.transfer.requesting import fresh, reading
from gimle.asgard.transfer.wire import Wire

if TYPE_CHECKING:
    from hashlib import _Hash

RANGE_BYTES = 1 << 24
_NOTED_BYTES = 1 << 20
"""How often it is noted how far a range is."""

_RANGES_AT_ONCE = 3
"""Of one object. What is under way when a process is killed stays below a part."""

_BATCH = 32
_ANY = Digest("sha256", b"")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object, and the file that it becomes."""

    remote: Remote
    target: Path


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
        small = [one for one in wanted if _is_small(one.remote)]
        for one in wanted:
            if not _is_small(one.remote):
                yield partial(self._large, one)
        for start in range(0, len(small), _BATCH):
            yield partial(self._small, small[start : start + _BATCH])

    def close(self) -> None:
        """Leave what is unfinished for a later call."""
        for large in self._open:
            large.file.close()

    def _small(self, wanted: Sequence[Wanted], wire: Wire) -> None:
        for one, grant in zip(
            wanted, self.source.grants([one.remote for one in wanted]), strict=True
        ):
            moved = patiently(partial(self._fetch, one, grant, wire), self.work.stop)
            self.meter.add(1, one.remote.size, moved)

    def _fetch(self, one: Wanted, grant: Grant, wire: Wire) -> int:
        """Fetch an object in one request, into a file beside its target; answer its size."""
        self.work.check()
        grant = self._fresh(one.remote, grant)
        beside = partial_path(one.target)
        with wire.request(grant.method, grant.url, reading(grant, one.remote.etag)) as answer:
            if answer.status != 200:
                raise _refused(one.remote, answer)
            digest = one.remote.digest or Digest.of_headers(
                answer.headers, one.remote.size, lambda: one.remote.size
            )
            hash = (digest or _ANY).hash()
            file = locked(beside)
            try:
                emptied(file)
                size = copied(answer, wire.buffer, file, hash, one.target)
                if size != one.remote.size:
                    raise WrongBytesError(one.remote.name, f"has {size} bytes, not those listed")
                if digest is not None:
                    found = hash.digest()
                    compare(
                        one.remote.name,
                        found if digest.part_bytes is None else digest.over([found]),
                        digest.value,
                    )
                os.replace(beside, one.target)
            except BaseException:
                with suppress(OSError):
                    os.unlink(beside)
                raise
            finally:
                os.close(file)
        return size

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
                    raise _refused(large.remote, answer)
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


def _is_small(remote: Remote) -> bool:
    """Whether one request fetches it: what was sent in parts is checked by parts."""
    if remote.digest is not None:
        return remote.size <= RANGE_BYTES and remote.digest.part_bytes in (None, remote.size)
    return remote.size <= RANGE_BYTES and "-" not in remote.etag


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


def _refused(remote: Remote, answer: Answer) -> RefusedError | WrongBytesError:
    if answer.status == 412:
        return WrongBytesError(remote.name, "it changed after it was listed; ask again")
    return refusal(f"download of {remote.name}", answer.status, answer.read())
