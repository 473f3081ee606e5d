"""Array files: written whole, grown in place, read as far as they are committed.

The format is numpy's own, always in C order, with the room in its header that numpy
leaves for the growth axis. A document's reference says dtype and shape; what lies behind
them in the file does not exist.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_named
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.folder.files import write_all
from gimle.asgard.core.mapped import release

# Larger arrays are memory-mapped.
MAPPED_BYTES = 1 << 20

_MAGIC = b"\x93NUMPY"
_ALIGNED = 64
_GROWTH_DIGITS = 21  # numpy's own GROWTH_AXIS_MAX_DIGITS
_BLOCK = 1 << 24


def header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The head of an array file: a multiple of 64 bytes, with room for a longer first axis."""
    text = _header_text(dtype, shape)
    room = _GROWTH_DIGITS - len(str(shape[0])) if shape else 0
    version, width, encoding = (b"\x01\x00", 2, "latin-1")
    try:
        raw = text.encode(encoding)
    except UnicodeEncodeError:
        version, width, raw = b"\x03\x00", 4, text.encode()
    if len(raw) + room + _ALIGNED > 0xFFFF:
        version, width, raw = b"\x03\x00", 4, text.encode()
    before = len(_MAGIC) + 2 + width
    total = -(-(before + len(raw) + room + 1) // _ALIGNED) * _ALIGNED
    padded = raw.ljust(total - before - 1) + b"\n"
    return _MAGIC + version + len(padded).to_bytes(width, "little") + padded


def _header_text(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    descr = dtype.str if dtype.names is None else np.lib.format.dtype_to_descr(dtype)
    plain = tuple(int(n) for n in shape)
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {plain!r}, }}"


def write(path: str, parts: Iterator[Array], dtype: np.dtype[Any], shape: tuple[int, ...],
          *, durable: bool) -> None:  # fmt: skip
    """Write a whole array file of `shape` (as stored) from parts along its first axis."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(fd, header(dtype, shape))
        for part in parts:
            _write_blocks(fd, part.astype(dtype, copy=False))
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _write_blocks(fd: int, array: Array) -> None:
    """Write elements in C order, copying no more than a block of what is not."""
    if array.size == 0:
        return
    if array.flags.c_contiguous:
        raw = _raw(array)
        for start in range(0, len(raw), _BLOCK):
            block = raw[start : start + _BLOCK]
            write_all(fd, memoryview(block))  # type: ignore[arg-type]  # numpy arrays are buffers
            release(block)
        return
    rows = max(1, _BLOCK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        block = np.ascontiguousarray(array[start : start + rows])
        write_all(fd, memoryview(_raw(block)))  # type: ignore[arg-type]  # numpy arrays are buffers


def _raw(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def read(path: str, ref: ArrayRef, result_id: str) -> Array:
    """Read the committed part of an array file; above 1 MiB it is memory-mapped.

    A memory map is copy-on-write: changing it never changes the file. Raises DocumentError
    when the file does not hold what the reference says, FileNotFoundError when it is missing.
    """
    dtype = dtype_named(ref.dtype)
    shape = ref.stored_shape
    size = ref.nbytes
    array: Array
    with open(path, "rb", buffering=0) as file:
        fd = file.fileno()
        offset, fortran = _head(fd, ref, result_id)
        order: Any = "F" if fortran else "C"
        if os.fstat(fd).st_size < offset + size:
            raise DocumentError(
                result_id, f"{ref.path} is shorter than the {size} bytes its document commits"
            )
        if size > MAPPED_BYTES:
            array = np.memmap(file, dtype=dtype, mode="c", offset=offset, shape=shape, order=order)
        elif size == 0:
            array = np.empty(shape, dtype)
        else:
            raw = np.empty(size, np.uint8)
            os.preadv(fd, [memoryview(raw)], offset)  # type: ignore[arg-type]  # numpy arrays are buffers
            array = raw.view(dtype).reshape(shape, order=order)
    return array.swapaxes(0, 1) if ref.transposed else array


def can_grow(path: str, ref: ArrayRef, result_id: str) -> bool:
    """Tell whether the file can grow in place: it is in C order and has room in its head."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset, fortran = _head(fd, ref, result_id)
        return (
            not fortran
            and len(_header_text(dtype_named(ref.dtype), ref.stored_shape)) + (_GROWTH_DIGITS + 12)
            <= offset
        )
    finally:
        os.close(fd)


def grow(path: str, ref: ArrayRef, rows: Array, result_id: str, *, durable: bool) -> None:
    """Put rows (of the stored dtype and axis order) behind the committed ones.

    The file is cut to what is committed, the bytes go to their offset, then the head
    tells the new shape; the document that commits them is written by the caller.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        offset, _ = _head(fd, ref, result_id)
        end = offset + ref.nbytes
        size = os.fstat(fd).st_size
        if size < end:
            raise DocumentError(
                result_id, f"{ref.path} is shorter than the {ref.nbytes} bytes committed"
            )
        if size > end:
            os.ftruncate(fd, end)
        os.lseek(fd, end, os.SEEK_SET)
        _write_blocks(fd, rows)
        stored = ref.stored_shape
        text = _header_text(dtype_named(ref.dtype), (stored[0] + len(rows), *stored[1:]))
        before = 10 if os.pread(fd, 1, 6) == b"\x01" else 12
        encoded = text.encode("latin-1" if before == 10 else "utf-8")
        os.pwrite(fd, encoded.ljust(offset - before - 1) + b"\n", before)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _head(fd: int, ref: ArrayRef, result_id: str) -> tuple[int, bool]:
    """Where the data begins, and whether it is in Fortran's order."""
    start = os.pread(fd, 256, 0)
    if start[:6] != _MAGIC or len(start) < 12:
        raise DocumentError(result_id, f"{ref.path} is not an array file")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    offset = 8 + width + length
    text = start[8 + width : offset] if offset <= len(start) else os.pread(fd, length, 8 + width)
    return offset, b"'fortran_order': True" in text
