"""The tokens of pages: where a page begins, of which list."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

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
        raise PageTokenMismatchError(
            "page_token is not one of this list: send back next_page_token as it came, "
            "with the other arguments unchanged, or leave it out to begin anew"
        )
    return name


def _digest(listing: str) -> bytes:
    return hashlib.sha256(listing.encode()).digest()[:_DIGEST_BYTES]
