"""Files of this machine's disk that are filled as they are looked at: `Region` for arrays."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a look at one value costs.
BLOCK_BYTES = 1 << 14
# What is asked for at once of a long stretch, so many at a time.
_REQUEST_BYTES = 1 << 23
_AT_ONCE = 8

# Bytes from an offset on, so many.
Fetch = Callable[[int, int], bytes]

_fetchers = ThreadPoolExecutor(_AT_ONCE, "asgard-ranges")


class SparseFile:
    """A file of `size` bytes without a name: holes, until they are fetched.

    `grown` is told how many bytes it takes on the disk whenever those are more. `alone`: what is
    missing is fetched by the thread that reads, for its `fetch` may itself read such files. For
    any thread.
    """

    def __init__(
        self,
        handle: int,
        size: int,
        fetch: Fetch,
        grown: Callable[[int], None],
        *,
        alone: bool = False,
    ) -> None:
        self._alone = alone
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
        ranges = list(_ranges(missing))
        if len(ranges) == 1 or self._alone:
            for each in ranges:
                self._fill(*each)
        else:
            for done in [_fetchers.submit(self._fill, *each) for each in ranges]:
                done.result()

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
