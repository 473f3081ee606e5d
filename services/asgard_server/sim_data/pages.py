"""The pages of lists of jobs, which may also be named by their number."""

from __future__ import annotations

from datetime import datetime

from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.rpc import pages
from asgard_server.sim_data.domain import Job

FURTHEST = 1_000_000

size = pages.size


def skipped(page: int, page_size: int, page_token: str) -> int:
    """How many jobs come before a page that is named by its number. Raises `InvalidFieldError`."""
    if page < 0 or page > FURTHEST:
        raise InvalidFieldError("page", f"is {page}", f"give 1 to {FURTHEST:,}")
    if page and page_token:
        raise InvalidFieldError("page", "is given beside page_token", "give one of them")
    return max(0, page - 1) * page_size


def token(owner: str, last: Job) -> str:
    """The token of the page behind a job."""
    return pages.place_token(f"jobs/{owner}", last.created_at, str(last.id))


def behind(page_token: str, owner: str) -> tuple[datetime, int] | None:
    """What a page begins behind; None for the first. Raises `PageTokenMismatchError`."""
    place = pages.place(page_token, f"jobs/{owner}")
    return None if place is None else (place[0], pages.whole(place[1]))
