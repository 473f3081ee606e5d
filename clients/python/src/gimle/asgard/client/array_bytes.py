"""An array as the .npy file it will be in the store, without being one here."""

from __future__ import annotations

from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, dtype_named
from gimle.asgard.core.folder.npy import header
from gimle.asgard.core.mapped import release
from gimle.asgard.transfer import Views


class ArrayBytes:
    """The bytes of a .npy file: a head, then the elements in C order, copied only where they must.

    dtype: as a reference names it. exchanged: the first two axes are exchanged in the file.
    size: of the file, nbytes: of the elements alone. sha256: of all of it, in hexadecimal, once it
    is known.
    """

    def __init__(self, array: Array, dtype: Any, *, exchanged: bool) -> None:
        self._array = array.swapaxes(0, 1) if exchanged else array
        self._head = header(dtype_named(dtype), self._array.shape)
        self.nbytes = array.nbytes
        self.size = len(self._head) + self.nbytes
        self.sha256: str | None = None
        self._flat: Array | None = None
        if self._array.flags.c_contiguous:
            self._flat = self._array.reshape(-1).view(np.uint8)

    def views(self, start: int, stop: int) -> Views:
        """The bytes from `start` to `stop`; of an array in another order a copy of so much."""
        head = len(self._head)
        parts = []
        if start < head:
            parts.append(memoryview(self._head)[start:stop])
        if stop > head:
            parts.append(self._elements(max(0, start - head), stop - head))
        return Views(tuple(parts))

    def _elements(self, start: int, stop: int) -> memoryview:
        flat, skip = self._flat, 0
        if flat is None:
            each = self._array[:1].nbytes
            first = start // each
            rows = np.ascontiguousarray(self._array[first : -(-stop // each)])
            flat, skip = rows.reshape(-1).view(np.uint8), first * each
        part: Any = flat[start - skip : stop - skip]
        return memoryview(part)

    def release(self, start: int, stop: int) -> None:
        """Give back the memory of these bytes, where the array lies in a file."""
        head = len(self._head)
        if self._flat is not None and stop > head:
            release(self._flat[max(0, start - head) : stop - head])
