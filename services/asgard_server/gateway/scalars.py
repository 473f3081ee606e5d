"""Single values between protobuf and JSON: the one table for scalars and times.

Decoders raise `Refused` with what would be right; callers add the field's path.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor as F

SAFE_INTEGER = 2**53
_BASE64_STEP = 1 << 20  # characters; a multiple of four

_RANGES = {
    F.TYPE_INT32: (-(2**31), 2**31 - 1),
    F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    F.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    F.TYPE_UINT32: (0, 2**32 - 1),
    F.TYPE_FIXED32: (0, 2**32 - 1),
    F.TYPE_INT64: (-(2**63), 2**63 - 1),
    F.TYPE_SINT64: (-(2**63), 2**63 - 1),
    F.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    F.TYPE_UINT64: (0, 2**64 - 1),
    F.TYPE_FIXED64: (0, 2**64 - 1),
}
WIDE = frozenset(kind for kind, (_, high) in _RANGES.items() if high > 2**33)
INTEGERS = frozenset(_RANGES)

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class Refused(ValueError):
    """A value that cannot be taken; the message says what would be right."""


def shown_float(value: float) -> float | str:
    """JSON has no NaN: the three words of protobuf's JSON stand for what is not finite."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def shown_float32(value: float) -> float | str:
    """Shorten to the fewest digits that give the same 32-bit number back."""
    if math.isfinite(value):
        for digits in (6, 7, 8):
            short = float(f"{value:.{digits}g}")
            if abs(short) <= 3.4e38 and struct.unpack("f", struct.pack("f", short))[0] == value:
                return short
    return shown_float(value)


def shown_wide(value: int) -> int | str:
    """64-bit integers are numbers while every reader of JSON holds them exactly."""
    return value if -SAFE_INTEGER < value < SAFE_INTEGER else str(value)


def shown_bytes(value: bytes) -> str:
    """Base64 with padding."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def shown_time(value: Any) -> str:
    """RFC 3339 in UTC with `Z`, and 0, 3, 6 or 9 digits of a second."""
    return f"{_second(value.seconds)}{_fraction(value.nanos)}Z"


@lru_cache(maxsize=16_384)  # half of the time that a run takes; lists show the same ones again
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def shown_duration(value: Any) -> str:
    """Seconds with the letter `s`."""
    sign = "-" if value.seconds < 0 or value.nanos < 0 else ""
    return f"{sign}{abs(value.seconds)}{_fraction(abs(value.nanos))}s"


def shown_mask(value: Any) -> str:
    """Paths separated by commas, in snake_case."""
    return ",".join(value.paths)


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    digits = f"{nanos:09d}"
    if digits.endswith("000000"):
        return f".{digits[:3]}"
    return f".{digits[:6]}" if digits.endswith("000") else f".{digits}"


def integer_reader(kind: int) -> Callable[[object], int]:
    """Reader of one integer type: JSON numbers, and digits as text for the wide ones."""
    low, high = _RANGES[kind]
    wide = kind in WIDE

    def read(value: object) -> int:
        whole = type(value) is float and value.is_integer() and abs(value) < SAFE_INTEGER
        digits = wide and type(value) is str and _INTEGER.fullmatch(value)
        if whole or digits:
            value = int(cast("float | str", value))
        if type(value) is not int:
            raise Refused(f"must be an integer, not {described(value)}")
        if not low <= value <= high:
            raise Refused(f"must lie between {low} and {high}")
        return value

    return read


def read_float(value: object) -> float:
    """Number, or one of the three words."""
    if type(value) is int or type(value) is float:
        try:
            return float(value)
        except OverflowError as error:
            raise Refused("is too large for a 64-bit float") from error
    if type(value) is str and value in _WORDS:
        return _WORDS[value]
    raise Refused(f"must be a number, not {described(value)}")


def read_float32(value: object) -> float:
    """As `read_float`, within the range of 32 bits."""
    number = read_float(value)
    if math.isfinite(number) and abs(number) > 3.4028235677973366e38:
        raise Refused("is too large for a 32-bit float")
    return number


def read_bool(value: object) -> bool:
    """Take `true` or `false`."""
    if type(value) is bool:
        return value
    raise Refused(f"must be true or false, not {described(value)}")


def read_text(value: object) -> str:
    """Take a string."""
    if type(value) is str:
        return value
    raise Refused(f"must be a string, not {described(value)}")


def read_bytes(value: object) -> bytes:
    """Base64, with or without padding, in either alphabet.

    Goes in pieces of 1 MiB, so that a thread that reads 64 MiB lets others run.
    """
    text = read_text(value).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    text += "=" * (-len(text) % 4)
    try:
        return b"".join(
            binascii.a2b_base64(text[start : start + _BASE64_STEP], strict_mode=True)
            for start in range(0, len(text), _BASE64_STEP)
        )
    except (binascii.Error, ValueError) as error:
        raise Refused("must be base64") from error


def read_time(value: object, message: Any) -> None:
    """RFC 3339 with an offset, into a Timestamp."""
    found = _TIME.fullmatch(read_text(value))
    if found is None:
        raise Refused("must be an RFC 3339 time such as 2026-11-21T08:30:00Z")
    date, clock, fraction, offset = found.groups()
    try:
        moment = (
            datetime.fromisoformat(f"{date}T{clock}{'+00:00' if offset in 'Zz' else offset}")
            - _EPOCH
        )
    except (ValueError, OverflowError) as error:
        raise Refused("must be an RFC 3339 time that exists") from error
    seconds = moment // timedelta(seconds=1)
    if not -62135596800 <= seconds <= 253402300799:
        raise Refused("must lie between the years 1 and 9999 in UTC")
    message.seconds = seconds
    message.nanos = int((fraction or "").ljust(9, "0"))


def read_duration(value: object, message: Any) -> None:
    """Seconds such as `1.5s`, into a Duration."""
    found = _DURATION.fullmatch(read_text(value))
    if found is None or int(found[2]) > 315576000000:
        raise Refused("must be seconds such as 1.5s")
    sign = -1 if found[1] else 1
    message.seconds = sign * int(found[2])
    message.nanos = sign * int((found[3] or "").ljust(9, "0"))


def read_mask(value: object, message: Any) -> None:
    """Paths separated by commas, into a FieldMask."""
    for path in filter(None, read_text(value).split(",")):
        if not _PATH.fullmatch(path):
            raise Refused("must be field names separated by commas, such as name,tags")
        message.paths.append(path)


def from_query(kind: int, text: str) -> object:
    """JSON value that a query parameter's text stands for; the reader then checks it."""
    if kind in INTEGERS:
        if _INTEGER.fullmatch(text):
            return int(text)
        raise Refused(f"must be an integer, not {described(text)}")
    if kind in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
        if text in _WORDS:
            return text
        if _NUMBER.fullmatch(text):
            return float(text)
        raise Refused(f"must be a number, not {described(text)}")
    if kind == F.TYPE_BOOL:
        if text in ("true", "false"):
            return text == "true"
        raise Refused(f"must be true or false, not {described(text)}")
    return text


def described(value: object) -> str:
    """Show a refused value shortly."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
