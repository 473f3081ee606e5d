"""Anything else: a readable tree, with previews of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from tsdownsample import MinMaxLTTBDownsampler

from asgard_server.run.lazy import is_array
from asgard_server.run.render.axis import BLOCK
from asgard_server.run.render.fit import Array, Field, Unfit, numbers
from asgard_server.run.render.options import RenderOptions

MAX_ITEMS = 200
MAX_DEPTH = 16
MAX_NODES = 5_000
MAX_TEXT = 10_000
SPARKS = 64
# Values looked at for an array's preview; beyond it, evenly spread pieces are.
MAX_PREVIEWED = 1 << 25

_lttb: Any = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]  # its constructor has no annotations


def tree(
    data: Mapping[str, Any],
    display: Mapping[str, Any],
    options: RenderOptions,
    reason: str | None = None,
    *,
    waiting: bool = False,
) -> dict[str, Any]:
    """The view of any data. `reason` says why it is not drawn as its type would be.

    `waiting` says that it will be as soon as it has values.
    """
    node = _Tree().node(data, 0)
    return {"kind": "tree", "reason": reason, "waiting": waiting, "tree": node, "notes": []}


def simple(value: Any, depth: int = 0) -> Any:
    """A short JSON value for people: what is long or strange becomes text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else _digits(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _float_text(value)
    if isinstance(value, str):
        return _shorten(value)[0]
    if isinstance(value, np.ndarray) and value.size <= MAX_ITEMS and value.dtype.kind in "biufc":
        return simple(value.tolist(), depth)
    if depth < MAX_DEPTH and isinstance(value, Mapping) and len(value) <= MAX_ITEMS:
        return {clean(str(key)): simple(item, depth + 1) for key, item in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple) and len(value) <= MAX_ITEMS:
        return [simple(item, depth + 1) for item in value]
    return _scalar_text(value)


def clean(text: str) -> str:
    """Text that UTF-8 can carry: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


class _Tree:
    """Builds nodes; stops adding children once there are too many for a page."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def node(self, value: Any, depth: int) -> dict[str, Any]:
        self._left -= 1
        if value is None:
            return {"type": "null", "value": None}
        if isinstance(value, bool | np.bool_):
            return {"type": "bool", "value": bool(value)}
        if isinstance(value, str):
            shown, more = _shorten(value)
            return {"type": "text", "value": shown} | ({"more": more} if more else {})
        if is_array(value):
            return preview(value)
        if isinstance(value, int | float | complex | np.number):
            return {"type": "number", "value": _number(value)}
        if isinstance(value, Mapping):
            return self._object(value, depth)
        if isinstance(value, list | tuple):
            return self._list(value, depth)
        reference = {name: getattr(value, name, None) for name in ("dtype", "shape")}
        if all(each is not None for each in reference.values()):
            return _unread(str(reference["dtype"]), reference["shape"])
        return {"type": "text", "value": _scalar_text(value)}

    def _room(self, depth: int) -> int:
        return min(MAX_ITEMS, max(0, self._left)) if depth < MAX_DEPTH else 0

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        items: list[list[Any]] = []
        for key, item in value.items():
            if len(items) >= self._room(depth):
                break
            items.append([clean(str(key)), self.node(item, depth + 1)])
        return {"type": "object", "items": items, "more": len(value) - len(items)}

    def _list(self, value: list[Any] | tuple[Any, ...], depth: int) -> dict[str, Any]:
        if len(value) > SPARKS:
            try:
                return preview(numbers(Field("list", list(value)))) | {"dtype": "list"}
            except Unfit:
                pass  # not numbers alone: shown item by item
        items: list[dict[str, Any]] = []
        for item in value:
            if len(items) >= self._room(depth):
                break
            items.append(self.node(item, depth + 1))
        return {"type": "list", "items": items, "more": len(value) - len(items)}


def preview(array: Array) -> dict[str, Any]:
    """An array as dtype, shape, finite extremes and mean, and a curve of 64 points at most."""
    node = _unread(str(array.dtype), array.shape)
    try:
        values = numbers(Field("array", array))
    except Unfit:
        return node
    if values.dtype.kind == "c":
        values = np.abs(values)
    if values.size == 0:
        return node
    if values.ndim == 0:
        return node | {
            "min": _json(values[()]),
            "max": _json(values[()]),
            "mean": _json(values[()]),
        }
    low, high, total, finite = _extremes(values)
    if finite:
        node |= {"min": _json(low), "max": _json(high), "mean": _json(total / finite)}
    return node | {"sparkline": _sparkline(values)}


def _unread(dtype: str, shape: Any) -> dict[str, Any]:
    sides = [int(side) for side in shape]
    missing: dict[str, Any] = {"min": None, "max": None, "mean": None, "sparkline": []}
    return {"type": "array", "dtype": dtype, "shape": sides, **missing}


def _extremes(values: Array) -> tuple[Any, Any, float, int]:
    low: Any = np.inf
    high: Any = -np.inf
    total, finite = 0.0, 0
    for block in _blocks(values):
        good = block
        if block.dtype.kind == "f" and not np.isfinite(block.sum(dtype=np.float64)):
            good = block[np.isfinite(block)]
        if good.size == 0:
            continue
        low, high = min(low, good.min()), max(high, good.max())
        total += float(good.sum(dtype=np.float64))
        finite += good.size
    return low, high, total, finite


def _blocks(values: Array) -> list[Array]:
    """Pieces of an array, without copying a memory map whole."""
    if values.ndim == 1 or values.flags.c_contiguous:
        flat = values if values.ndim == 1 else values.reshape(-1)
        starts = range(0, len(flat), BLOCK)
        if len(flat) > MAX_PREVIEWED:
            starts = range(0, len(flat), BLOCK * math.ceil(len(flat) / MAX_PREVIEWED))
        return [flat[start : start + BLOCK] for start in starts]
    if values.flags.f_contiguous:
        return _blocks(values.T)
    return [values[row] for row in range(len(values))]


def _sparkline(values: Array) -> list[float | None]:
    flat = values if values.ndim == 1 else values.reshape(-1) if values.flags.c_contiguous else None
    if flat is None:
        flat = values.T.reshape(-1) if values.flags.f_contiguous else values.ravel()
    if len(flat) > MAX_PREVIEWED:
        flat = flat[:: math.ceil(len(flat) / MAX_PREVIEWED)]
    flat = np.ascontiguousarray(flat)
    if flat.dtype.kind == "b":
        flat = flat.view(np.uint8)
    if len(flat) > SPARKS:
        flat = flat[_lttb.downsample(flat, n_out=SPARKS).astype(np.int64)]
    return [_json(value) for value in flat]


def _json(value: Any) -> Any:
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, complex):
        number = abs(number)
    if isinstance(number, float) and not math.isfinite(number):
        return None
    return number


def _number(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, float):
        return _float_text(value)
    return clean(str(value))[:MAX_TEXT]


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _digits(value: int) -> str:
    # Python refuses to print integers of many digits; hexadecimal is always allowed.
    text = str(value) if value.bit_length() < 10_000 else hex(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _scalar_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype}, shape {list(value.shape)}"
    if isinstance(value, Mapping | list | tuple):
        return f"{type(value).__name__} of {len(value):,}"
    return _shorten(str(value))[0]


def _shorten(text: str) -> tuple[str, int]:
    return clean(text[:MAX_TEXT]), max(0, len(text) - MAX_TEXT)
