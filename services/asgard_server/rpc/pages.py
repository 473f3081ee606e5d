"""The pages of lists: how many a page has, and the tokens that say where one begins, of which list.

A token holds what the last element of the page before is found by, and a digest of what was asked
for: one of another list, or of other arguments, is refused. It is no secret, and what is in it is
read as something a caller has made.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime, timedelta

from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError

DEFAULT = 50
MOST = 1_000
_DIGEST_BYTES = 8
_MOST_DIGITS = 18
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def size(asked: int, default: int = DEFAULT) -> int:
    """How many a page has. Raises `InvalidFieldError`."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", f"give 1 to {MOST}, or 0 for {default}")
    return min(asked or default, MOST)


def token(listing: str, behind: str) -> str:
    """The token of the page behind `behind` of a list."""
    return packed(_digest(listing), behind.encode())


def behind(page_token: str, listing: str) -> str:
    """What a page of a list begins behind, empty for its first. Raises `PageTokenMismatchError`."""
    if not page_token:
        return ""
    try:
        return unpacked(page_token, _digest(listing)).decode()
    except UnicodeDecodeError:
        raise mismatch() from None


def packed(listing: bytes, place: bytes) -> str:
    """The token of a place in the list that has this digest."""
    return urlsafe_b64encode(listing[:_DIGEST_BYTES] + place).decode().rstrip("=")


def unpacked(page_token: str, listing: bytes) -> bytes:
    """The place that a token tells of. Raises `PageTokenMismatchError` for another list's."""
    try:
        held = urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
    except (Base64Error, ValueError):
        raise mismatch() from None
    if held[:_DIGEST_BYTES] != listing[:_DIGEST_BYTES]:
        raise mismatch()
    return held[_DIGEST_BYTES:]


def number(page_token: str, listing: str) -> int:
    """The number that a page begins behind, 0 for the first. Raises `PageTokenMismatchError`."""
    return whole(behind(page_token, listing) or "0")


def place_token(listing: str, at: datetime, id: str) -> str:
    """The token of the page behind what was made at a moment and has an id."""
    return token(listing, f"{(at - _EPOCH) // _MICROSECOND}/{id}")


def place(page_token: str, listing: str) -> tuple[datetime, str] | None:
    """The moment and the id that a page begins behind; None for the first.

    Raises `PageTokenMismatchError`.
    """
    text = behind(page_token, listing)
    if not text:
        return None
    at, _, id = text.partition("/")
    try:
        return _EPOCH + whole(at) * _MICROSECOND, id
    except OverflowError:
        raise mismatch() from None


def mismatch() -> PageTokenMismatchError:
    """What a token is refused with."""
    return PageTokenMismatchError(
        "page_token is not one of this list: send back next_page_token as it came, "
        "with the other arguments unchanged, or leave it out to begin anew"
    )


def whole(text: str) -> int:
    """A number in a token, one that a database takes. Raises `PageTokenMismatchError`."""
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= _MOST_DIGITS):
        raise mismatch()
    return int(text)


def _digest(listing: str) -> bytes:
    return hashlib.sha256(listing.encode()).digest()
