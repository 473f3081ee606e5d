"""The pages of the list of experiments."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError

from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError

DEFAULT = 50
MOST = 1_000
_TOKEN = Struct(">8sq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def size(asked: int, default: int = DEFAULT) -> int:
    """How many a page has. Raises `InvalidFieldError`."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", f"give 1 to {MOST}, or 0 for {default}")
    return min(asked or default, MOST)


def token(at: datetime, id: str, *arguments: str) -> str:
    """The token of the page behind an experiment, of the list that `arguments` ask for."""
    packed = _TOKEN.pack(_digest(arguments), (at - _EPOCH) // _MICROSECOND) + id.encode()
    return urlsafe_b64encode(packed).decode().rstrip("=")


def behind(page_token: str, *arguments: str) -> tuple[datetime, str] | None:
    """What a page begins behind; None for the first. Raises `PageTokenMismatchError`."""
    if not page_token:
        return None
    moment, id = _EPOCH, ""
    try:
        packed = urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        digest, at = _TOKEN.unpack_from(packed)
        moment, id = _EPOCH + at * _MICROSECOND, packed[_TOKEN.size :].decode()
    except (Base64Error, StructError, ValueError, OverflowError):
        digest = b""
    if digest != _digest(arguments):
        raise PageTokenMismatchError(
            "page_token is not one of this list: send back next_page_token as it came, "
            "with the other arguments unchanged, or leave it out to begin anew"
        )
    return moment, id


def _digest(arguments: tuple[str, ...]) -> bytes:
    told = "\0".join(("experiments", *arguments))
    return hashlib.sha256(told.encode()).digest()[:8]
