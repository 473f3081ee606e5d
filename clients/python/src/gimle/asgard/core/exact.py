"""JSON that gives back exactly what it was given.

orjson alone writes NaN as null and refuses integers above 64 bits. So orjson goes
first, and where its output could be inexact the slow encoder writes markers:

    {"$float": "nan" | "inf" | "-inf"}      {"$int": "123..." | "0x..."}
    {"$complex": [re, im]}                  {"$bytes": "<base64>"}
    {"$datetime": "<ISO 8601>"}             {"$date": ...}  {"$time": ...}
    {"$array": "files/<name>.npy", "dtype", "shape"[, "transposed", "chunks"]}
    {"$array": [1, 2, 3] | {"base64": ...}, "dtype", "shape"}

A key of the user's that begins with `$` gets one `$` more. Tuples come back as
lists, numpy scalars as Python numbers of the same value.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from math import isfinite
from typing import Any

import numpy as np
import orjson
from gimle.asgard.core.arrays import ArrayRef, as_array, float_name, inline
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.restoring import restore

__all__ = ["dumps", "dumps_plain", "holds_long_integers", "loads", "parse", "restore"]

_OPTIONS = (
    orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
# Python refuses to write longer integers in decimal (sys.get_int_max_str_digits).
_DECIMAL_BITS = 8192
# The shortest integer that 64 bits do not hold has so many digits.
_LONG = b"0" * 19
_LONG_INTEGER = re.compile(rb"[^0-9.][0-9]{19}")
_DIGITS = bytes(0x30 if byte in b"0123456789" else 0x20 for byte in range(256))


def dumps(value: Any) -> bytes:
    """Encode a value as strict JSON, exactly.

    Raises TypeError that names the field for what cannot be stored (object arrays, sets,
    functions, keys that are not text), InvalidFieldError for nesting deeper than 254 levels.
    """
    body = dumps_plain(value)
    if body is not None:
        return body
    too_deep = InvalidFieldError(
        "data", "is nested deeper than JSON readers follow", "nest at most 250 levels"
    )
    try:
        plain = _plain(value)
    except RecursionError:
        raise too_deep from None
    try:
        return orjson.dumps(plain, option=_OPTIONS)
    except orjson.JSONEncodeError:
        raise too_deep from None


def dumps_plain(value: Any) -> bytes | None:
    """Encode a value as `dumps` does, or answer None when that needs the slow encoder.

    None means that there may be arrays or other values JSON does not have.
    """
    try:
        body = orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError):
        return None
    # A null may be a NaN, and a text that begins with `$` may be a key of the user's.
    return None if b"null" in body or b'"$' in body else body


def loads(body: bytes | str) -> Any:
    """Decode what `dumps` wrote; references to files come back as ArrayRef.

    Raises ValueError for what is not JSON or has a broken marker. Markers not known here
    are left as they are.
    """
    value = parse(body)
    marked = '"$' in body if isinstance(body, str) else b'"$' in body
    if not marked:
        return value
    try:
        return restore(value)
    except OverflowError as error:
        raise ValueError(f"a number does not fit its type: {error}") from error
    except RecursionError:
        raise ValueError("it is nested deeper than its markers can be followed") from None


def parse(body: bytes | str) -> Any:
    """Parse JSON and leave its markers as they are; integers have every digit.

    orjson makes a float of an integer above 64 bits, which other programs write as it is.
    Raises ValueError.
    """
    value = orjson.loads(body)
    if not holds_long_integers(body):
        return value
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("it is nested deeper than its integers can be followed") from None


def holds_long_integers(body: bytes | str) -> bool:
    """Whether there may be integers above 64 bits; some text and short ones are taken for such."""
    raw = body.encode() if isinstance(body, str) else body
    # Twice as fast as the pattern alone, which has to tell from fractions such as 0.000123...
    place = raw.translate(_DIGITS).find(_LONG)
    return place == 0 or (place > 0 and _LONG_INTEGER.search(raw, place - 1) is not None)


class _UnstorableError(TypeError):
    """Collects the path of the value on the way up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def __str__(self) -> str:
        return f"{'.'.join(reversed(self.path)) or 'the value'}: {self.problem}"


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return value if isfinite(value) else {"$float": float_name(value)}
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else _big(value)
    if kind is bool or value is None:
        return value
    if kind is str:
        return _text(value)
    if kind is list or kind is tuple:
        return _list(value)
    if kind is dict:
        return _object(value)
    return _other(value)


def _big(value: int) -> dict[str, str]:
    return {"$int": str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)}


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _UnstorableError(
                "text with half of a surrogate pair is not Unicode; repair it first"
            ) from None
    return value


def _list(values: Any) -> list[Any]:
    plain = []
    try:
        for value in values:
            plain.append(_plain(value))  # noqa: PERF401  # the length tells where it failed
    except _UnstorableError as error:
        error.path.append(str(len(plain)))
        raise
    return plain


def _object(values: Mapping[Any, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise _UnstorableError(f"the key {key!r} is not text; use str(...) of it")
        try:
            plain["$" + key if key.startswith("$") else _text(key)] = _plain(value)
        except _UnstorableError as error:
            error.path.append(key)
            raise
    return plain


def _other(value: Any) -> Any:
    """Encode what is none of JSON's own types; order matters, for a datetime is a date."""
    if isinstance(value, ArrayRef):
        return _reference(value)
    for types, encode in _MARKED:
        if isinstance(value, types):
            return encode(value)
    if isinstance(value, np.generic):
        return _scalar(value)
    try:
        array = as_array(value)
    except TypeError as error:
        raise _UnstorableError(str(error)) from None
    if array is None:
        encoded = _enum_or_uuid(value)
        if encoded is not None:
            return encoded
        raise _UnstorableError(
            f"a {type(value).__module__}.{type(value).__qualname__} cannot be stored; "
            "convert it to numbers, text, lists, dicts or arrays"
        )
    return inline(array)


_MARKED: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (bool, bool),
    (int, lambda value: _plain(int(value))),
    (float, lambda value: _plain(float(value))),
    (str, lambda value: _text(str.__str__(value))),
    (complex, lambda value: {"$complex": [_plain(value.real), _plain(value.imag)]}),
    (datetime, lambda value: {"$datetime": value.isoformat()}),
    (date, lambda value: {"$date": value.isoformat()}),
    (time, lambda value: {"$time": value.isoformat()}),
    ((bytes, bytearray), lambda value: {"$bytes": b64encode(value).decode()}),
    ((list, tuple), _list),
    (Mapping, _object),
)


def _scalar(value: np.generic) -> Any:
    """Encode a numpy scalar as the Python number of its value, or as an array without axes."""
    if value.dtype.kind == "b":
        return bool(value)
    if value.dtype.kind in "iu":
        return _plain(int(value))
    if value.dtype.str[1:] in ("f2", "f4", "f8"):
        return _plain(float(value))
    if value.dtype.str[1:] in ("c8", "c16"):
        return _plain(complex(value))
    try:
        array = as_array(np.asarray(value))
    except TypeError as error:
        raise _UnstorableError(str(error)) from None
    assert array is not None  # noqa: S101  # np.asarray answers nothing else
    return inline(array)


def _enum_or_uuid(value: Any) -> Any:
    """Encode what orjson writes by itself: enums by their value, UUIDs as text."""
    try:
        return orjson.loads(orjson.dumps(value, option=_OPTIONS))
    except orjson.JSONEncodeError:
        return None


def _reference(ref: ArrayRef) -> dict[str, Any]:
    plain: dict[str, Any] = {"$array": ref.path, "dtype": ref.dtype, "shape": list(ref.shape)}
    if ref.transposed:
        plain["transposed"] = True
    if ref.chunks:
        plain["chunks"] = [list(chunk) for chunk in ref.chunks]
    return plain
