"""Files of this machine's disk that are filled as they are looked at: `Region` for arrays."""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgard_server.run.drawing import waiting

# What a look at one value costs.
BLOCK_BYTES = 1 << 14
# What is asked for at once of a long stretch, so many at a time for one who reads.
_REQUEST_BYTES = 1 << 22
_AT_ONCE = 8
# And so many at a time for all, beside those that the readers ask for themselves.
_FETCHERS = 24

# Bytes from an offset on, so many.
Fetch = Callable[[int, int], bytes]

_fetchers = ThreadPoolExecutor(_FETCHERS, "asgard-ranges")


class SparseFile:
    """A file of `size` bytes without a name: holes, until they are fetched.

    `grown` is told how many bytes it takes on the disk whenever those are more. `fetch` may itself
    read such files. For any thread.
    """

    def __init__(self, handle: int, size: int, fetch: Fetch, grown: Callable[[int], None]) -> None:
        os.ftruncate(handle, max(size, 1))
        self._handle = handle
        self._size = size
        self._fetch = fetch
        self._grown = grown
        self._have = np.zeros(-(-size // BLOCK_BYTES), np.bool_)
        self._taken = 0
        self._lock = threading.Lock()
        self._map = mmap.mmap(handle, max(size, 1), prot=mmap.PROT_READ)
        self.base: NDArray[Any] = np.frombuffer(self._map, np.uint8, size)

    def __del__(self) -> None:
        os.close(self._handle)

    def read(self, spans: Sequence[tuple[int, int]]) -> None:
        """Fill these half-open ranges. Two who want the same may both fetch it."""
        wanted = np.zeros_like(self._have)
        for start, stop in spans:
            if start < stop:
                wanted[start // BLOCK_BYTES : -(-stop // BLOCK_BYTES)] = True
        with self._lock:
            missing = wanted & ~self._have
        if missing.any():
            with waiting():
                self._fill_all(deque(_ranges(missing)))

    def _fill_all(self, ranges: deque[tuple[int, int]]) -> None:
        """Fetch all of them: alone if need be, with the help of those who are free if there are.

        Nobody is waited for who has not begun, so slow readers hold up none but themselves.
        """

        def work() -> None:
            while True:
                try:
                    each = ranges.popleft()
                except IndexError:
                    return
                self._fill(*each)

        helpers = [_fetchers.submit(work) for _ in range(min(len(ranges), _AT_ONCE) - 1)]
        try:
            work()
        finally:
            ranges.clear()
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()

    def _fill(self, first: int, last: int) -> None:
        """Fetch blocks `first` to `last`, and note that they are there."""
        start, stop = first * BLOCK_BYTES, min(last * BLOCK_BYTES, self._size)
        body = self._fetch(start, stop - start)
        if len(body) != stop - start:
            raise OSError(f"{len(body):,} of {stop - start:,} bytes came")
        os.pwrite(self._handle, body, start)
        with self._lock:
            self._have[first:last] = True
            self._taken += stop - start
            taken = self._taken
        self._grown(taken)


def _ranges(missing: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of blocks, half-open, none longer than a request."""
    edges = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0))
    step = _REQUEST_BYTES // BLOCK_BYTES
    for first, last in edges.reshape(-1, 2).tolist():
        for start in range(first, last, step):
            yield start, min(start + step, last)
