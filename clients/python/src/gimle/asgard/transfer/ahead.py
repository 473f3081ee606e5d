"""The parts of a file that is being sent: those that come are read and hashed ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

from gimle.asgard.transfer.errors import WireError
from gimle.asgard.transfer.grants import Part, parts_at_once
from gimle.asgard.transfer.line import CHUNK_BYTES, FilePart

if TYPE_CHECKING:
    from hashlib import _Hash

_AHEAD_BYTES = 1 << 29
"""How far hashing may be before sending: leave to send is asked for many parts together."""


class Ahead:
    """The parts of the open file `file`, `each` bytes long, with their digests, in order.

    With `whole` the digest of all bytes is computed too. One thread hashes while callers send.
    Not thread-safe: who takes parts for several senders takes them one by one.
    """

    def __init__(self, file: int, size: int, each: int, whole: bool) -> None:
        self._file = file
        self._size, self._each = size, each
        self._whole = sha256() if whole else None
        self._followed = 0
        self._first = parts_at_once(each)
        self._most = max(2, _AHEAD_BYTES // each)
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._count = -(-size // each)
        self._numbers = iter(range(1, self._count + 1))
        self._thread = ThreadPoolExecutor(1)
        self._coming: deque[Future[Part]] = deque()

    def close(self) -> None:
        """Let go of what has not been hashed yet."""
        self._thread.shutdown(cancel_futures=True)

    def next(self) -> Part | None:
        """The next part, None behind the last."""
        self._fill()
        return self._coming.popleft().result() if self._coming else None

    def hashed(self) -> Iterator[Part]:
        """The parts behind the last one taken that have been hashed already."""
        self._fill()
        for one in self._coming:
            if not one.done():
                return
            yield one.result()

    def whole(self) -> bytes | None:
        """The digest of all parts, None when it was not asked for."""
        if self._whole is None:
            return None
        self._thread.submit(self._follow, self._count).result()
        return self._whole.digest()

    def body(self, number: int) -> FilePart:
        """The bytes of a part."""
        first = (number - 1) * self._each
        return FilePart(self._file, first, min(self._each, self._size - first))

    def _fill(self) -> None:
        while len(self._coming) < self._most and (number := next(self._numbers, None)):
            self._coming.append(self._thread.submit(self._read, number))

    def _read(self, number: int) -> Part:
        own = sha256()
        if self._whole is None or number <= self._first:
            hashed(self.body(number), self._buffer, own)  # these are waited for
        else:
            self._follow(number - 1)
            hashed(self.body(number), self._buffer, own, self._whole)
            self._followed = number
        return Part(number, self.body(number).size, own.digest())

    def _follow(self, last: int) -> None:
        """Let the whole's hash take the parts up to `last`."""
        assert self._whole is not None  # noqa: S101 - asked for
        while self._followed < last:
            self._followed += 1
            hashed(self.body(self._followed), self._buffer, self._whole)


def hashed(part: FilePart, buffer: memoryview, *hashes: _Hash) -> None:
    """Let hashes take a part of a file. Raises WireError when the file is shorter by now."""
    offset, left = part.offset, part.size
    while left:
        count = os.preadv(part.file, [buffer[: min(left, len(buffer))]], offset)
        if count == 0:
            raise WireError("the file became shorter while it was read")
        for hash in hashes:
            hash.update(buffer[:count])
        offset, left = offset + count, left - count
