"""How a result grows: which fields, on which axis, to which dtype. No I/O.

Every field of an append grows by the same number of rows on its growth axis, the first;
`StochasticEnsemble.paths`, whose second axis is time, is kept transposed in its file.
No bit is lost: values that do not fit a field's dtype make it wider, or are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, as_array, dtype_named, same_bits
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import CannotAppendError

Path = tuple[str, ...]


def grows_on_second_axis(result_type: str, path: Path) -> bool:
    """Tell whether a field's rows are along its second axis."""
    return result_type == "StochasticEnsemble" and path == ("paths",)


@dataclass(frozen=True)
class Growth:
    """How one field grows.

    present: what the document has: a list, an array, an ArrayRef, or None for no field.
    rows: what is added, of shape (n, *rest): the growth axis is the first.
    length: rows that are committed.
    """

    path: Path
    present: Any
    rows: Array
    length: int
    second_axis: bool

    @property
    def name(self) -> str:
        """The field as people write it."""
        return ".".join(self.path)

    def kept(self, load: Callable[[ArrayRef], Array]) -> Array | None:
        """The committed rows, growth axis first; None when there are none."""
        if self.length == 0:
            return None
        array = load(self.present) if isinstance(self.present, ArrayRef) else _array(self.present)
        return array.swapaxes(0, 1) if self.second_axis else array

    def reference(self, path: str, dtype: Any, length: int) -> ArrayRef:
        """The reference to this field once it has `length` rows in the file at `path`."""
        shape = (length, *self.rows.shape[1:])
        if self.second_axis:
            shape = (shape[1], shape[0], *shape[2:])
        return ArrayRef(path, dtype, shape, self.second_axis)


def plan(result: ResultDocument, data: Mapping[str, Any]) -> tuple[int, int, list[Growth]]:
    """Answer the committed length, the number of rows added, and how each field grows.

    Raises CannotAppendError, which names the field, when this cannot be.
    """
    growths = [
        _growth(result, path, present, added)
        for path, present, added in _leaves(result.id, result.data, data, ())
    ]
    if not growths:
        raise CannotAppendError(result.id, "no field is named; give at least one that grows")
    first = growths[0]
    for other in growths[1:]:
        if other.length != first.length:
            raise CannotAppendError(
                result.id,
                f"{first.name} has {first.length} rows and {other.name} {other.length}; "
                "fields that grow together have the same length",
            )
        if len(other.rows) != len(first.rows):
            raise CannotAppendError(
                result.id,
                f"{len(first.rows)} rows are given for {first.name} and {len(other.rows)} for "
                f"{other.name}; give the same number for each",
            )
    return first.length, len(first.rows), growths


def committed_length(result: ResultDocument, data: Mapping[str, Any]) -> int:
    """How many rows the fields named in `data` have. Raises CannotAppendError."""
    return plan(result, data)[0]


def _leaves(
    result_id: str, present: Any, data: Mapping[str, Any], path: Path
) -> Iterator[tuple[Path, Any, Any]]:
    """Every field that grows: its path, what it holds, and what is added."""
    for key, added in data.items():
        here = (*path, key)
        if not isinstance(key, str):
            raise CannotAppendError(result_id, f"the key {key!r} is not text")
        value = present.get(key) if isinstance(present, Mapping) else None
        if isinstance(added, Mapping):
            if value is not None and not isinstance(value, Mapping):
                raise CannotAppendError(result_id, f"{'.'.join(here)} is a series, not an object")
            yield from _leaves(result_id, value or {}, added, here)
        else:
            yield here, value, added


def _growth(result: ResultDocument, path: Path, present: Any, added: Any) -> Growth:
    name = ".".join(path)
    second = grows_on_second_axis(result.result_type, path)
    rows = _checked(result.id, name, "what is added to it", added)
    if second:
        if rows.ndim < 2:
            raise CannotAppendError(
                result.id, f"{name} wants rows of shape [path, time], not {list(rows.shape)}"
            )
        rows = rows.swapaxes(0, 1)
    shape = _shape(result.id, name, present)
    empty = 0 in shape and (len(shape) == 1 or shape[int(second)] == 0)
    if second and not empty and len(shape) < 2:
        raise CannotAppendError(result.id, f"{name} has shape {list(shape)}, not [path, time]")
    length = 0 if empty else shape[int(second)]
    rest = (shape[0], *shape[2:]) if second else shape[1:]
    if not (empty and len(shape) == 1) and rest != rows.shape[1:]:
        raise CannotAppendError(
            result.id,
            f"a row of {name} has shape {list(rest)}, what is added has {list(rows.shape[1:])}",
        )
    return Growth(path, present, rows, length, second)


def _shape(result_id: str, name: str, present: Any) -> tuple[int, ...]:
    if present is None:
        return (0,)
    if isinstance(present, ArrayRef):
        if not present.shape:
            raise CannotAppendError(result_id, f"{name} is a single value and has no rows")
        return present.shape
    return _checked(result_id, name, "it", present).shape


def _checked(result_id: str, name: str, what: str, value: Any) -> Array:
    try:
        array = _array(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise CannotAppendError(
            result_id, f"{name} cannot grow, for {what} is not an array of numbers or text: {error}"
        ) from error
    if array.ndim == 0:
        raise CannotAppendError(
            result_id, f"{name} cannot grow, for {what} is a single value; give a list of rows"
        )
    return array


def _array(value: Any) -> Array:
    """A list or array as an array. Raises TypeError or ValueError for what is neither."""
    array = as_array(value)
    if array is not None:
        return array
    if not isinstance(value, list | tuple):
        raise TypeError(f"a {type(value).__name__} has no rows")
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("its values are of different kinds")
    return array


def wide_dtype(growth: Growth, kept: Callable[[], Array | None]) -> np.dtype[Any] | None:
    """The dtype that holds the present and the added rows exactly, None when there is none.

    The present dtype where that fits. `kept` answers the committed rows; it is asked only
    when they have to be converted.
    """
    rows, present = growth.rows, growth.present
    if isinstance(present, ArrayRef):
        dtype = dtype_named(present.dtype)
    elif growth.length or as_array(present) is not None:
        dtype = _array(present).dtype
    else:
        return rows.dtype
    if fits(rows, dtype):
        return dtype
    numbers = "iufc"
    if dtype.kind != rows.dtype.kind and not (dtype.kind in numbers and rows.dtype.kind in numbers):
        return None
    try:
        wide = np.result_type(dtype, rows.dtype)
    except TypeError:
        return None
    old = kept()
    if fits(rows, wide) and (old is None or fits(old, wide)):
        return wide
    return None


def fits(array: Array, dtype: np.dtype[Any]) -> bool:
    """Tell whether every value, to the bit, survives the way to `dtype` and back."""
    if array.dtype == dtype or array.size == 0:
        return True
    if array.dtype.kind == "c" and dtype.kind != "c":
        return False
    if (array.dtype.kind == "b") != (dtype.kind == "b"):
        return False
    try:
        with np.errstate(all="ignore"):
            there = array.astype(dtype)
            if dtype.kind == "c" and array.dtype.kind != "c":
                there = there.real
            back = there.astype(array.dtype)
    except (TypeError, ValueError, OverflowError):
        return False
    return back.tobytes() == np.asarray(array, order="C").tobytes()


def already_there(growth: Growth, at: int, load: Callable[[ArrayRef], Array]) -> bool:
    """Tell whether the rows to be added are, to the bit, those that lie at `at` already."""
    kept = growth.kept(load)
    if kept is None:
        return len(growth.rows) == 0
    there = kept[at : at + len(growth.rows)]
    return fits(growth.rows, there.dtype) and same_bits(
        there, growth.rows.astype(there.dtype, copy=False)
    )


def replaced(data: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of `data` in which the field at `path` is `value`."""
    copy = dict(data)
    key, *rest = path
    copy[key] = replaced(copy.get(key) or {}, tuple(rest), value) if rest else value
    return copy


def references(data: Any) -> Iterator[ArrayRef]:
    """Every ArrayRef in a result's data."""
    if isinstance(data, ArrayRef):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from references(value)
    elif isinstance(data, list):
        for value in data:
            if isinstance(value, dict | list | ArrayRef):
                yield from references(value)
