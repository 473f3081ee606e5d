"""The tokens of pages: where a page begins, of which list."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime

from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError

DEFAULT = 50
MOST = 1_000
_DIGEST_BYTES = 8


def size(asked: int) -> int:
    """How many a page has. Raises `InvalidFieldError`."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", f"give 1 to {MOST}, or 0 for {DEFAULT}")
    return min(asked or DEFAULT, MOST)


def token(listing: str, behind: str) -> str:
    """The token of the page behind `behind` of a list."""
    return urlsafe_b64encode(_digest(listing) + behind.encode()).decode().rstrip("=")


def behind(page_token: str, listing: str) -> str:
    """What a page of a list begins behind, empty for its first. Raises `PageTokenMismatchError`."""
    if not page_token:
        return ""
    try:
        packed = urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        name = packed[_DIGEST_BYTES:].decode()
    except (Base64Error, ValueError):
        packed, name = b"", ""
    if packed[:_DIGEST_BYTES] != _digest(listing):
        raise _mismatch()
    return name


def count(said: str) -> int:
    """How many come before a page, of what `behind` answers. Raises `PageTokenMismatchError`."""
    if said and not (said.isascii() and said.isdecimal() and len(said) < 10):
        raise _mismatch()
    return int(said or "0")


def moment_token(listing: str, at: datetime, id: str) -> str:
    """The token of the page behind something that was made at a moment."""
    return token(listing, f"{at.isoformat()} {id}")


def moment_behind(page_token: str, listing: str) -> tuple[datetime, str] | None:
    """The moment and id that a page begins behind; None for the first."""
    said = behind(page_token, listing)
    if not said:
        return None
    at, _, id = said.partition(" ")
    try:
        moment = datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _mismatch() from None
    return moment, id


def _mismatch() -> PageTokenMismatchError:
    return PageTokenMismatchError(
        "page_token is not one of this list: send back next_page_token as it came, "
        "with the other arguments unchanged, or leave it out to begin anew"
    )


def _digest(listing: str) -> bytes:
    return hashlib.sha256(listing.encode()).digest()[:_DIGEST_BYTES]
