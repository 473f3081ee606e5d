"""The tokens of lists of runs and of results, which hold a place in bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from asgard_server.rpc import pages
from asgard_server.run.limits import EPOCH
from asgard_server.run.repeats import request_digest

_AT = Struct(">q")


class Position(NamedTuple):
    """Where a page ends: the next one begins behind it."""

    created_at: datetime
    id: str


def page_token(position: Position, *arguments: str) -> str:
    """The token of the page behind `position` of the list that `arguments` ask for."""
    micros = (position.created_at - EPOCH) // timedelta(microseconds=1)
    return pages.packed(_arguments(arguments), _AT.pack(micros) + position.id.encode())


def page_position(token: str, *arguments: str) -> Position | None:
    """Where a page begins. Raises `PageTokenMismatchError` for a token of another list."""
    if not token:
        return None
    place = pages.unpacked(token, _arguments(arguments))
    try:
        (micros,) = _AT.unpack_from(place)
        return Position(EPOCH + timedelta(microseconds=micros), place[_AT.size :].decode())
    except (StructError, ValueError, OverflowError):
        raise pages.mismatch() from None


def next_page(places: Sequence[tuple[datetime, str]], size: int, *arguments: str) -> str:
    """The token behind the first `size` of `places`, empty where there are no more."""
    return page_token(Position(*places[size - 1]), *arguments) if len(places) > size else ""


def _arguments(arguments: Sequence[str]) -> bytes:
    return request_digest(*(argument.encode() for argument in arguments))
