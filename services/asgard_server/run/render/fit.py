"""Whether data fits its type: names, shapes and numbers, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgard_server.run.lazy import is_array

Array = NDArray[Any]

_X = ("x", "t", "time", "times", "grid")
_COMPUTED = ("computed", "y", "values", "value", "solution", "result", "u", "f")
_EXPECTED = ("expected", "analytic", "analytical", "exact", "reference", "y_true", "true")
_TIME = ("t", "times", "time", "x")

# Numbers of a list converted in one go.
CONVERTED = 1 << 16

# What a field may be called, the documented name first.
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "Solution1D": {
        "x": _X,
        "computed": _COMPUTED,
        "expected": _EXPECTED,
        "coefficients": ("coefficients", "coeffs", "series"),
    },
    "Solution2D": {
        "x": ("x", "xs"),
        "y": ("y", "ys", "t"),
        "computed": ("computed", "z", "values", "u", "f", "field", "solution", "result"),
        "expected": _EXPECTED,
    },
    "StochasticEnsemble": {
        "t": _TIME,
        "paths": ("paths", "samples", "trajectories", "ensemble", "realizations", "realisations"),
        "mean": ("mean", "average"),
        "lower": ("lower", "low", "lo"),
        "upper": ("upper", "high", "hi"),
    },
    "DiscreteSequence": {
        "n": ("n", "index", "indices", "k", "steps", "step", "x", "t"),
        "values": ("values", "computed", "sequence", "terms", "y", "value"),
        "expected": _EXPECTED,
    },
    "OptimizationResult": {
        "step": ("step", "steps", "iteration", "iterations", "epoch", "epochs", "n", "x"),
        "loss": ("loss", "losses", "objective", "objectives", "cost", "costs", "history", "y"),
        "parameters": ("parameters", "params", "parameter", "theta"),
        "optimum": ("optimum", "optimal", "minimum", "target", "solution"),
    },
    "PhysicsAnimation": {
        "t": _TIME,
        "frames": ("frames", "frame", "images", "fields", "field"),
        "positions": ("positions", "position", "trajectories", "trajectory", "bodies"),
    },
}


class Unfit(ValueError):
    """Data that does not fit its type; `reason` is shown to the reader."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Empty(Unfit):
    """Data in which there is nothing to draw yet, as in a result that is about to grow."""


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a result's data under the name it was found."""

    name: str
    value: Any


def find(data: Mapping[str, Any], result_type: str, role: str) -> Field | None:
    """The value that plays `role` in a result of this type, None when there is none."""
    lowered = {name.lower(): name for name in data}
    for name in NAMES[result_type][role]:
        key = name if name in data else lowered.get(name)
        if key is not None and data[key] is not None:
            return Field(key, data[key])
    return None


def need(data: Mapping[str, Any], result_type: str, role: str) -> Field:
    """As `find`. Raises Unfit when there is none."""
    field = find(data, result_type, role)
    if field is None:
        raise Unfit(f"{result_type} needs {role!r}, and data has {_listing(data)}")
    return field


def numbers(field: Field) -> Array:
    """A field as an array of booleans, integers, floats or complex numbers.

    Memory-mapped arrays are not read; lists are converted, None becoming NaN and times
    seconds since 1970 (UTC). Raises Unfit for text, ragged lists and anything else.
    """
    value = field.value
    if not is_array(value):
        value = _array_of_list(field)
    kind = value.dtype.kind
    if kind in "biufc":
        return _plain_dtype(value)
    if kind in "mM":
        return _seconds(value)
    if kind == "O":
        return _array_of_objects(field.name, value)
    if kind in "USa":
        raise Unfit(f"{field.name!r} holds text, not numbers")
    try:  # bfloat16 and its like have kind V and know how to become floats
        return np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise Unfit(f"{field.name!r} has dtype {value.dtype}, which is not numeric") from None


def vector(field: Field, length: int | None = None, like: str = "") -> Array:
    """A field as one dimension, of `length` when that is given, which `like` names."""
    array = numbers(field)
    if array.ndim > 1 and array.size == max(array.shape, default=0):
        array = array.reshape(-1)
    if array.ndim != 1:
        raise Unfit(f"{field.name!r} has shape {shape_of(array)}; one dimension was expected")
    if array.size == 0:
        raise Empty(f"{field.name!r} is empty")
    if length is not None and len(array) != length:
        raise Unfit(f"{field.name!r} has {len(array):,} values, {like!r} has {length:,}")
    return array


def optional_vector(field: Field | None, length: int, like: str, notes: list[str]) -> Array | None:
    """As `vector`, but data that does not fit is left out with a note."""
    if field is None:
        return None
    try:
        return vector(field, length, like)
    except Unfit as unfit:
        notes.append(f"not drawn: {unfit.reason}")
        return None


def is_time(field: Field | None) -> bool:
    """Whether a field holds points in time, which `numbers` turns into seconds since 1970."""
    if field is None:
        return False
    value = field.value
    if is_array(value):
        return bool(value.dtype.kind == "M")
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], datetime)


def shape_of(array: Array) -> str:
    """A shape for people: `3 x 4`."""
    return " x ".join(str(side) for side in array.shape) or "no dimensions"


def _listing(data: Mapping[str, Any]) -> str:
    if not data:
        return "nothing"
    names = [repr(str(name)[:40]) for name in list(data)[:8]]
    return ", ".join(names) + (", ..." if len(data) > 8 else "")


def _array_of_list(field: Field) -> Array:
    value = field.value
    if isinstance(value, bool | int | float | complex | np.generic):
        raise Unfit(f"{field.name!r} is a single number, not a series")
    if isinstance(value, str | bytes):
        raise Unfit(f"{field.name!r} is text, not numbers")
    if not isinstance(value, Sequence):
        raise Unfit(f"{field.name!r} is a {type(value).__name__}, not a series of numbers")
    try:
        return _in_pieces(value)
    except (ValueError, OverflowError, TypeError):
        raise Unfit(f"{field.name!r} is ragged: its rows have different lengths") from None


def _in_pieces(value: Sequence[Any]) -> Array:
    # Converting a list holds the interpreter's lock: long ones go piece by piece, so that
    # other threads are served meanwhile.
    width = len(value[0]) if value and isinstance(value[0], list | tuple) else 1
    step = max(1, CONVERTED // max(1, width))
    if len(value) <= step:
        return np.asarray(value)
    return np.concatenate(
        [np.asarray(value[start : start + step]) for start in range(0, len(value), step)]
    )


def _plain_dtype(array: Array) -> Array:
    # Long doubles and the other byte order are unknown to the reducer and to JSON.
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if array.dtype.kind == "c" and array.dtype.itemsize > 16:
        return array.astype(np.complex128)
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def _seconds(array: Array) -> Array:
    unit = "datetime64[us]" if array.dtype.kind == "M" else "timedelta64[us]"
    if np.datetime_data(array.dtype)[0] == "generic":
        raise Unfit(f"times of dtype {array.dtype} have no unit")
    with np.errstate(all="ignore"):
        seconds = array.astype(unit).astype(np.int64) / 1e6
    return np.asarray(np.where(np.isnat(array), np.nan, seconds))


def _array_of_objects(name: str, array: Array) -> Array:
    flat = array.reshape(-1).tolist()
    if any(isinstance(item, complex) for item in flat):
        return _filled((_complex(name, item) for item in flat), np.complex128, array)
    return _filled((_float(name, item) for item in flat), np.float64, array)


def _filled(items: Iterable[Any], dtype: Any, like: Array) -> Array:
    return np.fromiter(items, dtype=dtype, count=like.size).reshape(like.shape)


def _complex(name: str, item: Any) -> complex:
    return item if isinstance(item, complex) else complex(_float(name, item))


def _float(name: str, item: Any) -> float:
    if item is None:
        return float("nan")
    if isinstance(item, datetime):
        return item.timestamp()
    if isinstance(item, str | bytes):
        raise Unfit(f"{name!r} holds text, not numbers")
    if isinstance(item, np.generic):
        item = item.item()
    if not isinstance(item, bool | int | float):
        raise Unfit(
            f"{name!r} holds a {type(item).__name__}, not numbers (or rows of different lengths)"
        )
    try:
        return float(item)
    except OverflowError:  # an integer beyond every float
        return math.copysign(math.inf, -1 if item < 0 else 1)
    except (TypeError, ValueError):
        raise Unfit(f"{name!r} holds a {type(item).__name__}, not numbers") from None
