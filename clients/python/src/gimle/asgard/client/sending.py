"""Sending arrays by grants: several requests at once, each of bytes whose digest is signed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from gimle.asgard.client.array_bytes import ArrayBytes
from gimle.asgard.client.grants import grant_of
from gimle.asgard.transfer import Grant, Views, Wire, Work, WrongBytesError, parts_at_once, send
from gimle.asgard.v1.new_result_pb2 import UploadedArray

_LANES = 8
_HASHED_BYTES = 1 << 24
_CACHED_BYTES = 1 << 18  # hashed twice while it is in the core's own cache


class Sending:
    """One call's files on their way. `tell` hears how many bytes have gone."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._work = Work(())
        self._lock = threading.Lock()
        self._gone = 0
        self._lanes = 0
        self._over: dict[int, str] = {}

    def measure(self, files: Iterable[ArrayBytes]) -> None:
        """Compute the digests of files that go in one request each."""
        with ThreadPoolExecutor(_LANES) as pool:
            list(pool.map(_measure, files))

    def whole(self, file: ArrayBytes, way: Any, again: Callable[[], Any]) -> None:
        """Send a file in one request; `again` asks how it is to come anew."""
        if not way.HasField("put"):
            self._count(file.size)
            return

        def renewed() -> Grant:
            way = again()
            if not way.HasField("put"):
                raise WrongBytesError(way.key, "somebody else has sent it meanwhile")
            return grant_of(way.put)

        def there() -> bool:
            return not again().HasField("put")

        def task(wire: Wire) -> None:
            body = file.views(0, file.size)
            send(wire, self._work, way.key, grant_of(way.put), body, renewed, there)
            file.release(0, file.size)
            self._count(file.size)

        self._add(task)

    def in_parts(self, file: ArrayBytes, way: Any, sign: Callable[[int, bytes], Grant]) -> None:
        """Send a file in parts, those that have not arrived; `sign` grants one.

        One at a time, of the last file a second one where that is no more than 32 MiB: whoever is
        killed has lost no more than these of each file.
        """
        each = way.parts.part_size_bytes or file.size
        arrived = {part.number: (part.size_bytes, part.sha256) for part in way.arrived}
        wanted = way.HasField("parts")
        measured, taking = _measured_parts(file, each), threading.Lock()
        over = hashlib.sha256()

        def take() -> tuple[int, Views, bytes] | None:
            with taking:
                part = next(measured, None)
                if part is not None:
                    over.update(part[2])
                elif wanted:
                    self._over[id(file)] = over.hexdigest()
                return part

        def task(wire: Wire) -> None:
            while (part := take()) is not None:
                self._work.check()
                number, body, digest = part
                if wanted and arrived.get(number) != (body.size, digest.hex()):
                    leave = partial(sign, number, digest)
                    send(wire, self._work, way.key, leave(), body, leave)
                file.release((number - 1) * each, (number - 1) * each + body.size)
                self._count(body.size)

        self._add(task)
        more = min(parts_at_once(each), -(-file.size // each)) - 1
        self._lanes += more
        self._work.spare([task] * more)

    def run(self) -> None:
        """Do all of it. Raises TransferError, and what grants raise."""
        if self._lanes:
            self._work.run(min(_LANES, self._lanes))

    def digests(self, file: ArrayBytes) -> UploadedArray:
        """What is said of a file that has gone."""
        return UploadedArray(sha256=file.sha256 or "", sha256_parts=self._over.get(id(file), ""))

    def _add(self, task: Callable[[Wire], None]) -> None:
        self._lanes += 1
        self._work.add([task])

    def _count(self, size: int) -> None:
        with self._lock:
            self._gone += size
            self._tell(self._gone)


def _measure(file: ArrayBytes) -> None:
    digest = hashlib.sha256()
    for start in range(0, file.size, _HASHED_BYTES):
        stop = min(start + _HASHED_BYTES, file.size)
        _update(file.views(start, stop), digest)
        file.release(start, stop)
    file.sha256 = digest.hexdigest()


def _measured_parts(file: ArrayBytes, each: int) -> Iterator[tuple[int, Views, bytes]]:
    """The parts of a file with their digests; the next is hashed while the caller is at one."""
    whole = hashlib.sha256()

    def measured(number: int) -> tuple[int, Views, bytes]:
        body = file.views((number - 1) * each, min(number * each, file.size))
        digest = hashlib.sha256()
        _update(body, digest, whole)
        return number, body, digest.digest()

    count = -(-file.size // each)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(measured, 1)
        for number in range(1, count + 1):
            part = coming.result()
            if number < count:
                coming = ahead.submit(measured, number + 1)
            yield part
    file.sha256 = whole.hexdigest()


def _update(body: Views, *digests: Any) -> None:
    for part in body.parts:
        for start in range(0, len(part), _CACHED_BYTES):
            for digest in digests:
                digest.update(part[start : start + _CACHED_BYTES])
