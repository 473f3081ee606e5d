"""Ids and names: made in the order of time, and checked before they touch a disk."""

from __future__ import annotations

import os
import re
import threading
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from gimle.asgard.core.errors import InvalidNameError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)

# A file name has at most 255 bytes, and names get ".json" and a temporary name's decoration.
MAX_NAME_BYTES = 200


# Ids are to be unique, not secret: asking the kernel for each costs more than the rest of it,
# and hands the interpreter to another thread. A forked child must not repeat its parent.
_random = Random()  # noqa: S311  # not for secrets
os.register_at_fork(after_in_child=_random.seed)


class _Sequence:
    """The last tail given out for the latest microsecond, so that ids of one process ascend."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._microsecond = -1
        self._tail = 0

    def next(self, microsecond: int) -> int:
        """Give the 62 low bits of an id, above any given out before for this microsecond."""
        with self._lock:
            if microsecond == self._microsecond:
                self._tail += 1 + _random.getrandbits(32)
            else:
                self._microsecond = microsecond
                # The top bit stays free, so that adding never overflows.
                self._tail = _random.getrandbits(61)
            return self._tail

    def after_fork(self) -> None:
        """Begin anew in a forked child, whose parent may have held the lock."""
        self._lock = threading.Lock()
        self._microsecond = -1


_sequence = _Sequence()
os.register_at_fork(after_in_child=_sequence.after_fork)


def new_id(created_at: datetime) -> str:
    """Make a UUIDv7 whose time is `created_at` (aware), to the microsecond.

    The 12 bits behind the milliseconds hold the fraction of the millisecond (RFC 9562
    section 6.2, method 3), so ids sort as their `created_at` does, also between processes;
    within a process ids of the same microsecond ascend in the order they were made.
    """
    microseconds = (created_at - _EPOCH) // _MICROSECOND
    milliseconds, rest = divmod(microseconds, 1000)
    if not 0 <= milliseconds < 1 << 48:
        raise InvalidNameError(
            "created_at", f"{created_at.isoformat()} has no UUIDv7", "use a time after 1970"
        )
    high = milliseconds << 16 | 0x7000 | rest * 4096 // 1000
    text = f"{high:016x}{1 << 63 | _sequence.next(microseconds):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_microseconds(id: str) -> int | None:
    """Tell the microseconds since 1970 in a UUIDv7, None for any other id."""
    if _V7.fullmatch(id) is None:
        return None
    fraction = int(id[15:18], 16)
    return int(id[:8] + id[9:13], 16) * 1000 - (-fraction * 1000 // 4096)


def id_time(id: str) -> datetime | None:
    """Tell the time in a UUIDv7 (aware, UTC), None for any other id.

    Exact to the microsecond for ids made here; for those of others the millisecond is right.
    """
    microseconds = id_microseconds(id)
    if microseconds is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def is_id(text: str) -> bool:
    """Tell whether `text` may be the id of a run or result."""
    return _ID.fullmatch(text) is not None


def are_ids(texts: list[Any]) -> bool:
    """Tell whether all of these are texts that may be ids; fast, for long lists."""
    try:
        return all(map(_ID.fullmatch, texts))
    except TypeError:
        return False


def check_id(text: str, field: str = "run_id") -> str:
    """Answer `text` if it may be an id: 1 to 128 letters, digits, `-`, `_` and `.`.

    Raises InvalidNameError that names `field` otherwise, before any disk is touched.
    """
    if isinstance(text, str) and _ID.fullmatch(text):
        return text
    mend = (
        "an id is a UUID, or 1 to 128 letters, digits, '-', '_' and '.', "
        "beginning with a letter or digit"
    )
    if not isinstance(text, str):
        raise InvalidNameError(field, f"is a {type(text).__name__}, not text", mend)
    raise InvalidNameError(field, f"{_shown(text)} is not an id", mend)


def check_name(text: str, field: str) -> str:
    """Answer `text` if it may be the name of a file: one step of a path, not hidden.

    Raises InvalidNameError that names `field` otherwise, before any disk is touched.
    """
    mend = "use a plain name without separators"
    if not isinstance(text, str):
        raise InvalidNameError(field, f"is a {type(text).__name__}, not text", mend)
    if not text:
        raise InvalidNameError(field, "is empty", "give it a name")
    if any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in text):
        raise InvalidNameError(
            field, f"{_shown(text)} has a path separator or control character", mend
        )
    if text[0] == ".":
        raise InvalidNameError(field, f"{_shown(text)} begins with a dot", mend)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidNameError(field, f"{_shown(text)} is not valid Unicode", mend) from None
    if size > MAX_NAME_BYTES:
        raise InvalidNameError(
            field, f"is {size} bytes long", f"use a name of at most {MAX_NAME_BYTES} bytes"
        )
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
