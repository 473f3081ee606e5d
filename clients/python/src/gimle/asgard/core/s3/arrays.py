"""Arrays as objects: written whole and once, read as far as they are committed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_named
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.folder.layout import array_file
from gimle.asgard.core.folder.npy import header
from gimle.asgard.core.mapped import release
from gimle.asgard.core.s3.objects import PART_BYTES, Objects

_HEAD_BYTES = 1 << 16
_READERS = 8


def write(objects: Objects, path: str, array: Array) -> bool:
    """Write an array (growth axis first) as a .npy object; answer False when there is one."""
    first = header(array.dtype, array.shape)
    return objects.create_parts(path, len(first) + array.nbytes, _parts(first, array))


def _parts(head: bytes, array: Array) -> Iterator[bytes]:
    """The object's bytes, PART_BYTES at a time."""
    if array.dtype.itemsize == 0 or array.size == 0:
        yield head
        return
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    first = PART_BYTES - len(head)
    yield head + flat[:first].tobytes()
    release(flat[:first])
    for start in range(first, len(flat), PART_BYTES):
        part = flat[start : start + PART_BYTES]
        yield part.tobytes()
        release(part)


def read(objects: Objects, ref: ArrayRef, result_id: str) -> Array:
    """Read what a reference commits, into memory.

    Raises FileNotFoundError when an object is missing, DocumentError when one does not hold
    what the reference says.
    """
    dtype = dtype_named(ref.dtype)
    array = np.empty(ref.stored_shape, dtype)
    files = ref.files
    for path, _ in files:
        array_file(result_id, path)
    if len(files) == 1:
        array = _read_one(objects, files[0][0], array, result_id)
    else:
        ends = np.cumsum([rows for _, rows in files])

        def fill(index: int) -> None:
            path, rows = files[index]
            part = array[ends[index] - rows : ends[index]]
            part[...] = _read_one(objects, path, np.empty_like(part), result_id)

        with ThreadPoolExecutor(_READERS) as readers:
            list(readers.map(fill, range(len(files))))
    return array.swapaxes(0, 1) if ref.transposed else array


def _read_one(objects: Objects, path: str, array: Array, result_id: str) -> Array:
    """Fill `array` from an object; answer it, or one in Fortran's order over the same bytes."""
    size = array.nbytes
    if size + _HEAD_BYTES > PART_BYTES:
        return _read_large(objects, path, array, result_id)
    found = objects.get(path)
    if found is None:
        raise _missing(path)
    offset, fortran = head(found.body, path, result_id)
    if len(found.body) < offset + size:
        raise _short(path, size, result_id)
    if size:
        _bytes(array)[:] = found.body[offset : offset + size]
    return array.reshape(-1).reshape(array.shape, order="F") if fortran else array


def _read_large(objects: Objects, path: str, array: Array, result_id: str) -> Array:
    start = bytearray(256)
    if not objects.read_into(path, 0, memoryview(start)):
        raise _missing(path)
    # A long head (structured dtypes) is cut; where it ends is in its first bytes.
    offset, fortran = head(bytes(start), path, result_id)
    if not objects.read_into(path, offset, _bytes(array)):
        raise _missing(path)
    return array.reshape(-1).reshape(array.shape, order="F") if fortran else array


def _bytes(array: Array) -> memoryview:
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)


def head(body: bytes, path: str, result_id: str) -> tuple[int, bool]:
    """Where the data begins, and whether it is in Fortran's order."""
    if body[:6] != b"\x93NUMPY" or len(body) < 12:
        raise DocumentError(result_id, f"{path} is not an array file")
    width = 2 if body[6] == 1 else 4
    offset = 8 + width + int.from_bytes(body[8 : 8 + width], "little")
    return offset, b"'fortran_order': True" in body[:offset]


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is no such object", path)


def _short(path: str, size: int, result_id: str) -> DocumentError:
    return DocumentError(result_id, f"{path} is shorter than the {size} bytes committed")
