"""Pages of lists of runs and of results, and their tokens. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import datetime, timedelta
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError

from asgard_server.run.limits import EPOCH
from asgard_server.run.repeats import request_digest

PAGE_DEFAULT = 50
PAGE_LIMIT = 1_000

_PAGE = Struct(">8sq")


class Position(NamedTuple):
    """Where a page ends: the next one begins behind it."""

    created_at: datetime
    id: str


def page_size(asked: int) -> int:
    """The number of items on a page: 50 unless asked, at most 1,000."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", "say 1 to 1,000, or 0 for 50")
    return min(asked or PAGE_DEFAULT, PAGE_LIMIT)


def page_token(position: Position, *arguments: str) -> str:
    """The token of the page behind `position` of the list that `arguments` ask for."""
    micros = (position.created_at - EPOCH) // timedelta(microseconds=1)
    packed = _PAGE.pack(_arguments(arguments), micros) + position.id.encode()
    return urlsafe_b64encode(packed).decode().rstrip("=")


def page_position(token: str, *arguments: str) -> Position | None:
    """Where a page begins. Raises `PageTokenMismatchError` for a token of another list."""
    if not token:
        return None
    try:
        packed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, micros = _PAGE.unpack_from(packed)
        position = Position(EPOCH + timedelta(microseconds=micros), packed[_PAGE.size :].decode())
    except (Base64Error, StructError, ValueError, OverflowError):
        digest = b""
    if digest != _arguments(arguments):
        raise PageTokenMismatchError(
            "page_token is not one of this list: send back next_page_token as it came, "
            "with the other arguments unchanged, or leave it out to begin anew"
        )
    return position


def next_page(places: Sequence[tuple[datetime, str]], size: int, *arguments: str) -> str:
    """The token behind the first `size` of `places`, empty where there are no more."""
    return page_token(Position(*places[size - 1]), *arguments) if len(places) > size else ""


def _arguments(arguments: Sequence[str]) -> bytes:
    return request_digest(*(argument.encode() for argument in arguments))[:8]
