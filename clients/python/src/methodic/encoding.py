"""JSON of what is sent: numbers and arrays of numpy too, and nothing that JSON has no word for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def encoded(value: Any) -> bytes:
    """JSON of a value. An Ellipsis, which stands for text left out, is "...".

    Raises TypeError for what is no JSON, and ValueError for NaN and infinities; both say where.
    """
    try:
        found = orjson.dumps(value, _default, _OPTIONS)
    except TypeError as error:
        raise TypeError(f"{error}; it is no JSON: send a list, a number or a text") from error
    # orjson writes null for what is not finite: look whether one of these was none.
    if b"null" in found:
        _require_finite(value, "")
    return found


def _default(value: Any) -> Any:
    if value is ...:
        return "..."
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "__array__"):  # of jax, torch
        return np.asarray(value).tolist()
    raise TypeError(f"a value is a {type(value).__name__}")


def _require_finite(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _require_finite(each, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            _require_finite(each, f"{where}[{number}]")
    elif isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "fc" and not np.all(np.isfinite(array)):
            raise ValueError(_not_finite(where))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(_not_finite(where))


def _not_finite(where: str) -> str:
    return f"{where} is not finite, and JSON has no word for that: send None or a text"
