"""The tokens of pages of assets: where a page begins, of which list."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime, timedelta

from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError

from asgard_server.asset.domain import Asset

DEFAULT = 50
MOST = 1_000
_DIGEST_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def size(asked: int) -> int:
    """How many a page has. Raises `InvalidFieldError`."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", f"give 1 to {MOST}, or 0 for {DEFAULT}")
    return min(asked or DEFAULT, MOST)


def token(listing: str, last: Asset) -> str:
    """The token of the page behind an asset."""
    return token_of(listing, f"{(last.created_at - _EPOCH) // _MICROSECOND}/{last.id}")


def behind(page_token: str, listing: str) -> tuple[datetime, str] | None:
    """What a page begins behind; None for the first. Raises `PageTokenMismatchError`."""
    text = text_of(page_token, listing)
    if not text:
        return None
    at, _, asset_id = text.partition("/")
    try:
        return _EPOCH + int(at) * _MICROSECOND, asset_id
    except (ValueError, OverflowError):
        raise mismatch() from None


def below(page_token: str, listing: str) -> int | None:
    """The number that a page begins below; None for the first. Raises `PageTokenMismatchError`."""
    text = text_of(page_token, listing)
    if text and not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise mismatch()
    return int(text) if text else None


def token_of(listing: str, text: str) -> str:
    """The token of a page that begins behind something with this text."""
    return urlsafe_b64encode(_digest(listing) + text.encode()).decode().rstrip("=")


def text_of(page_token: str, listing: str) -> str:
    """The text that is in a token of this list; empty for the first page. Raises
    `PageTokenMismatchError`.
    """
    if not page_token:
        return ""
    try:
        packed = urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        text = packed[_DIGEST_BYTES:].decode()
    except (Base64Error, ValueError):
        packed, text = b"", ""
    if packed[:_DIGEST_BYTES] != _digest(listing):
        raise mismatch()
    return text


def mismatch() -> PageTokenMismatchError:
    """The error for a token of another list, or of none."""
    return PageTokenMismatchError(
        "page_token is not one of this list: send back next_page_token as it came, "
        "with the other arguments unchanged, or leave it out to begin anew"
    )


def _digest(listing: str) -> bytes:
    return hashlib.sha256(listing.encode()).digest()[:_DIGEST_BYTES]
