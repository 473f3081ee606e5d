"""Data and its arrays, apart: JSON that names each array by a key, and the arrays by that key.

So a result travels between a client and a service. Small arrays stay in the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gimle.asgard.core import exact
from gimle.asgard.core.arrays import INLINE_ELEMENTS, Array, ArrayRef, as_array, dtype_name
from gimle.asgard.core.folder.npy import header
from gimle.asgard.core.mapped import release

_PLAIN = (str, int, float, bool, type(None))


def apart(data: Mapping[str, Any]) -> tuple[bytes, dict[str, Array]]:
    """Encode data as JSON in which `{"$array": key, "dtype", "shape"}` stands for an array.

    Answers the arrays with more than 1,024 elements by their keys, C-ordered. Raises
    TypeError that names the field for what cannot be stored, as `exact.dumps` does.
    """
    arrays: dict[str, Array] = {}
    # The name of the whole is there for the errors that name a field.
    body = exact.dumps({"data": _without_arrays(data, ("data",), arrays)})
    return body[len(b'{"data":') : -1], arrays


def _without_arrays(value: Any, path: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    """A copy in which references stand for the large arrays, which go to `arrays`."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {
            key: _without_arrays(item, (*path, str(key)), arrays) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            item if type(item) in _PLAIN else _without_arrays(item, (*path, str(index)), arrays)
            for index, item in enumerate(value)
        ]
    try:
        array = as_array(value)
    except TypeError as error:
        raise TypeError(f"{'.'.join(path)}: {error}") from None
    if array is None:
        return value
    if array.size <= INLINE_ELEMENTS or array.dtype.itemsize == 0:
        return array
    key = free = ".".join(path[1:])
    while key in arrays:
        key = f"{free}~{len(arrays)}"
    arrays[key] = array
    return ArrayRef(key, dtype_name(array.dtype), array.shape)


def together(value: Any, arrays: Callable[[ArrayRef], Array]) -> Any:
    """Replace each reference in decoded data by the array that `arrays` answers for it."""
    if type(value) is ArrayRef:
        return arrays(value)
    if type(value) is dict:
        return {key: together(item, arrays) for key, item in value.items()}
    if type(value) is list:
        return [
            together(item, arrays) if type(item) in (dict, list, ArrayRef) else item
            for item in value
        ]
    return value


def npy_bytes(array: Array) -> bytes:
    """An array as a whole .npy file; one of a dtype that .npy cannot name as bare bytes of it."""
    return b"".join((_head(array), _raw(array)))


def npy_parts(array: Array, size: int) -> Iterator[bytes]:
    """The same file in parts, of some `size` bytes each."""
    yield _head(array)
    yield from pieces(array, size)


def _head(array: Array) -> bytes:
    try:
        named = array.dtype.names is None and np.dtype(array.dtype.str) == array.dtype
    except TypeError:
        named = False
    return header(array.dtype if named else np.dtype(f"V{array.dtype.itemsize}"), array.shape)


def pieces(array: Array, size: int) -> Iterator[bytes]:
    """The bytes of an array's elements in C order, some `size` bytes at a time.

    No more than a piece is copied, whatever the array's order.
    """
    if array.ndim == 0 or array.flags.c_contiguous:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        raw = memoryview(flat)  # type: ignore[arg-type]  # numpy arrays are buffers
        for start in range(0, len(raw), size):
            yield bytes(raw[start : start + size])
            release(flat[start : start + size])
        return
    rows = max(1, size // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield from pieces(np.ascontiguousarray(array[start : start + rows]), size)


def _raw(array: Array) -> memoryview:
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)
