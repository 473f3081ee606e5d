"""Arrays as documents know them: references, names of dtypes, and what counts as an array."""

from __future__ import annotations

import importlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Arrays with more elements are kept as .npy files beside their document.
INLINE_ELEMENTS = 1024

_BLOCK_BYTES = 1 << 24

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """Where a document says that an array lies.

    path: "files/<name>.npy", below the storage place.
    dtype: as `dtype_name` writes it; a JSON list for structured dtypes.
    shape: the committed shape, as a reader sees it; bytes behind it do not exist.
    transposed: the file holds the first two axes exchanged.
    chunks: (number, rows) of the files that follow the first one, in their order along the
        growth axis; only storages in S3, whose files cannot grow, have them.
    """

    path: str
    dtype: Any
    shape: tuple[int, ...]
    transposed: bool = False
    chunks: tuple[tuple[int, int], ...] = ()

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        return exchanged(self.shape) if self.transposed else self.shape

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """Every file's path with its rows along the growth axis, in order.

        An array without axes counts as one row.
        """
        rows = self.stored_shape[0] if self.shape else 1
        later = tuple((chunk_path(self.path, number), n) for number, n in self.chunks)
        return ((self.path, rows - sum(n for _, n in self.chunks)), *later)

    @property
    def nbytes(self) -> int:
        """The committed bytes behind the header of the file."""
        return int(np.prod(self.shape, dtype=object)) * dtype_named(self.dtype).itemsize


def chunk_path(path: str, number: int) -> str:
    """The file of a chunk: `files/{id}_{field}.{number:06}.npy` of `files/{id}_{field}.npy`."""
    return f"{path.removesuffix('.npy')}.{number:06}.npy"


def exchanged(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Exchange the first two axes of a shape."""
    return (shape[1], shape[0], *shape[2:])


def as_array(value: object) -> Array | None:
    """Answer numpy, JAX and other arrays as a C-ordered numpy array, None for anything else.

    Nothing but numpy is imported: whatever has `__array__`, `dtype` and `shape` is an array.
    Raises TypeError for masked arrays and for arrays whose elements have no fixed bytes.
    """
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("masked arrays lose their mask; store .filled(...) and .mask")
        array = np.asarray(value, order="C")
    elif isinstance(value, np.generic) or not (
        hasattr(value, "__array__") and hasattr(value, "dtype") and hasattr(value, "shape")
    ):
        return None
    else:
        array = np.asarray(value, order="C")
    dtype_name(array.dtype)
    return array


def dtype_name(dtype: np.dtype[Any]) -> Any:
    """Name a dtype for a document: "float64", ">f8", "bfloat16", "<U5", a list when structured.

    Raises TypeError for dtypes whose values have no fixed bytes (object, StringDType).
    """
    if dtype.hasobject or dtype.kind == "T":
        raise TypeError(
            f"arrays of dtype {dtype} cannot be stored; convert to numbers or fixed-width text, "
            "or give a list"
        )
    name: Any
    if dtype.names is not None:
        name = _as_lists(np.lib.format.dtype_to_descr(dtype))
    else:
        try:
            name = dtype.name if np.dtype(dtype.name) == dtype else dtype.str
        except TypeError:
            name = dtype.str
    if dtype_named(name) != dtype:
        raise TypeError(f"arrays of dtype {dtype} cannot be stored; convert to a plain dtype")
    return name


def dtype_named(name: Any) -> np.dtype[Any]:
    """Turn what `dtype_name` wrote back into the dtype.

    Raises ValueError for anything that is not the name of a dtype, or for one that needs
    ml_dtypes where that is not installed.
    """
    try:
        if isinstance(name, list):
            descr: np.dtype[Any] = np.lib.format.descr_to_dtype(_as_tuples(name))
            return descr
        if isinstance(name, str) and not name.startswith(("O", "|O", "object")):
            return np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        if isinstance(name, str) and name.isidentifier():
            return _ml_dtype(name)
    raise ValueError(f"{name!r} is not a dtype that can be stored")


def _ml_dtype(name: str) -> np.dtype[Any]:
    """Find bfloat16 and its like, which numpy alone does not know."""
    try:
        module = importlib.import_module("ml_dtypes")
    except ImportError:
        raise ValueError(f"the dtype {name} needs the package ml_dtypes; install it") from None
    scalar = getattr(module, name, None)
    if scalar is None:
        raise ValueError(f"{name!r} is not a dtype that can be stored")
    dtype: np.dtype[Any] = np.dtype(scalar)
    return dtype


def inline(array: Array) -> dict[str, Any]:
    """Write an array into a document: a list of numbers, or base64 where JSON has none."""
    value: Any
    if array.dtype.kind in "biu" or array.dtype.str[1:] in ("f2", "f4", "f8"):
        value = array.ravel().tolist()
        if array.dtype.kind == "f":
            value = [x if isfinite(x) else {"$float": float_name(x)} for x in value]
    else:
        value = {"base64": b64encode(array.tobytes()).decode()}
    return {"$array": value, "dtype": dtype_name(array.dtype), "shape": list(array.shape)}


def restored(value: Any, dtype: Any, shape: Any) -> Array:
    """Turn what `inline` wrote back into the array. Raises ValueError when it is not that."""
    kind = dtype_named(dtype)
    if isinstance(value, list):
        array = np.array(value, dtype=kind)
    elif isinstance(value, dict) and value.keys() == {"base64"}:
        if kind.itemsize == 0:
            return np.empty(as_shape(shape), kind)
        raw = bytearray(b64decode(value["base64"], validate=True))  # can be written to
        array = np.frombuffer(raw, dtype=kind)
    else:
        raise ValueError("an array is a list of numbers or base64")
    return array if shape is None else array.reshape(as_shape(shape))


def same_bits(mine: Array, theirs: Array) -> bool:
    """Tell whether two arrays hold the same to the bit, copying no more than a block of them."""
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        return False
    if mine.ndim == 0:
        return mine.tobytes() == theirs.tobytes()
    rows = max(1, _BLOCK_BYTES // max(1, mine[:1].nbytes))
    return all(
        mine[start : start + rows].tobytes() == theirs[start : start + rows].tobytes()
        for start in range(0, len(mine), rows)
    )


def as_chunks(value: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Check the chunks read from a document. Raises ValueError."""
    if isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n >= 0 for n in pair)
        for pair in value
    ):
        chunks = tuple((pair[0], pair[1]) for pair in value)
        if not chunks or (shape and sum(rows for _, rows in chunks) <= shape[0]):
            return chunks
    raise ValueError(f"{value!r} are not the chunks of an array")


def as_shape(value: Any) -> tuple[int, ...]:
    """Check a shape read from a document. Raises ValueError."""
    if isinstance(value, list) and all(type(n) is int and n >= 0 for n in value):
        return tuple(value)
    raise ValueError(f"{value!r} is not a shape")


def float_name(value: float) -> str:
    """Name a float that JSON does not have."""
    return "nan" if value != value else "inf" if value > 0 else "-inf"


def _as_lists(descr: Any) -> Any:
    return [_as_lists(part) for part in descr] if isinstance(descr, list | tuple) else descr


def _as_tuples(descr: list[Any]) -> list[Any]:
    """Undo `_as_lists`: a field is (name, type) or (name, type, shape); types may nest."""
    fields = []
    for name, kind, *shape in descr:
        names = tuple(name) if isinstance(name, list) else name
        fields.append(
            (names, _as_tuples(kind) if isinstance(kind, list) else kind, *map(tuple, shape))
        )
    return fields
