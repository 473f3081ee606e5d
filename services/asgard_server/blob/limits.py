"""How much there may be of anything, and what the fields of calls may say. Pure."""

from __future__ import annotations

import re

from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.blob.parts import MIB

# Up to here one request carries all bytes; above, a connection that breaks costs too much.
SINGLE_BYTES = 64 * MIB
# S3's own limits: of one PUT and of one copy, and of an object.
PLAIN_BYTES = 5 * 10**9
OBJECT_BYTES = 5 << 40
# What passes through the service itself.
INLINE_BYTES = 4 * MIB
BATCH = 1_000
CONTENT_TYPE = "application/octet-stream"
GRANT_SECONDS = 3_600
LONGEST_GRANT_SECONDS = 7 * 24 * 3_600
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}"
    r"(; ?[A-Za-z0-9!#$&^_.+-]{1,127}=[A-Za-z0-9!#$&^_.+:/-]{1,127}){0,8}"
)
_OWNER = re.compile(r"[a-z][a-z_-]{0,39}/[A-Za-z0-9._~:@-]{1,200}")


def checked_sha256(text: str | None, field: str) -> str | None:
    """Answer a digest in lower case. Raises `InvalidFieldError`."""
    if text is None:
        return None
    lower = text.lower()
    if not _SHA256.fullmatch(lower):
        raise InvalidFieldError(field, "is not a SHA-256", "give 64 hexadecimal digits")
    return lower


def checked_owner(owner: str) -> str:
    """Answer who claims. Raises `InvalidFieldError`."""
    if not _OWNER.fullmatch(owner):
        raise InvalidFieldError("owner", f"is {owner!r}", 'give "<kind>/<id>", like "asset/0193"')
    return owner


def grant_seconds(seconds: int | None, field: str = "grant_duration") -> int:
    """How long a grant holds. Raises `InvalidFieldError`."""
    if seconds is None:
        return GRANT_SECONDS
    if not 1 <= seconds <= LONGEST_GRANT_SECONDS:
        raise InvalidFieldError(field, f"is {seconds} s", "give 1 s to 7 days (604800s)")
    return seconds


def byte_range(first: int | None, last: int | None, size_bytes: int) -> tuple[int, int] | None:
    """The bytes asked for, both inclusive; None for all. Raises `InvalidFieldError`."""
    if first is None and last is None:
        return None
    start, end = first or 0, size_bytes - 1 if last is None else last
    if not 0 <= start <= end < size_bytes:
        raise InvalidFieldError(
            "first_byte" if first is not None else "last_byte",
            f"asks for {start} to {end} of {size_bytes:,} bytes",
            f"stay within 0 to {size_bytes - 1}",
        )
    return start, end


def batch(count: int, field: str) -> None:
    """Raise `InvalidFieldError` unless a call has a fair number of things."""
    if not 1 <= count <= BATCH:
        raise InvalidFieldError(field, f"holds {count:,}", f"send 1 to {BATCH:,} at once")


def checked_size(size: int | None, field: str) -> int | None:
    """Answer how many bytes an object has. Raises `InvalidFieldError`."""
    if size is not None and not 0 <= size <= OBJECT_BYTES:
        raise InvalidFieldError(field, f"is {size:,}", f"give 0 to {OBJECT_BYTES:,}")
    return size


def checked_content_type(text: str, field: str) -> str:
    """Answer a media type, the usual one where none is given. Raises `InvalidFieldError`."""
    if not text:
        return CONTENT_TYPE
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidFieldError(field, f"is {text!r}", "give one like application/json")
    return text
