"""Markers in parsed JSON, as exact.py writes them, turned back into values."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from gimle.asgard.core.arrays import (
    ArrayRef,
    as_chunks,
    as_shape,
    dtype_named,
    exchanged,
    restored,
)


def restore(value: Any) -> Any:
    """Turn parsed JSON with markers into values. Raises ValueError for a broken marker."""
    if type(value) is list:
        return [restore(item) if type(item) in (dict, list) else item for item in value]
    if type(value) is not dict:
        return value
    if "$array" in value:
        return _array(value)
    if len(value) == 1:
        ((key, content),) = value.items()
        decode = _DECODERS.get(key)
        if decode is not None:
            try:
                return decode(content)
            except (TypeError, AttributeError, KeyError) as error:
                raise ValueError(f"{key} cannot hold {content!r}") from error
    return {
        key[1:] if key.startswith("$$") else key: (
            restore(item) if type(item) in (dict, list) else item
        )
        for key, item in value.items()
    }


def _array(value: dict[str, Any]) -> Any:
    unknown = value.keys() - {"$array", "dtype", "shape", "transposed", "chunks"}
    if unknown:
        raise ValueError(
            f"$array has {sorted(unknown)}, written by a newer release; upgrade gimle-asgard"
        )
    content = value["$array"]
    try:
        if not isinstance(content, str):
            return restored(restore(content), value["dtype"], value.get("shape"))
        dtype_named(value["dtype"])
        shape = as_shape(value["shape"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"$array is broken: {error!r}") from error
    transposed = value.get("transposed") is True
    if transposed and len(shape) < 2:
        raise ValueError("$array is transposed but has less than two axes")
    chunks = as_chunks(value.get("chunks", []), exchanged(shape) if transposed else shape)
    return ArrayRef(content, value["dtype"], shape, transposed, chunks)


def _complex(parts: Any) -> complex:
    real, imaginary = map(restore, parts)
    return complex(real, imaginary)


_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$float": _FLOATS.__getitem__,
    "$int": lambda text: int(text, 0),
    "$complex": _complex,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$bytes": lambda text: b64decode(text, validate=True),
}
