"""Arrays over mapped files: what has been read of them need not stay in memory."""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array

_PAGE = mmap.PAGESIZE


def release(array: Array) -> None:
    """Give back the memory of a read-only map that `array` lies in; it is read again when needed.

    Of any other array nothing happens: where it can be written to, its memory may be all there
    is of it.
    """
    if array.flags.writeable or not array.flags.c_contiguous or sys.platform != "linux":
        return
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if not isinstance(base, mmap.mmap):
        return
    start = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    first = -(-start // _PAGE) * _PAGE
    length = (start + array.nbytes) // _PAGE * _PAGE - first
    if length > 0:
        base.madvise(mmap.MADV_DONTNEED, first, length)
