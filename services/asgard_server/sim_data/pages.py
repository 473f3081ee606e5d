"""The pages of lists of jobs: by a token, or by their number."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError

from gimle.asgard.core.errors import InvalidFieldError, PageTokenMismatchError

from asgard_server.sim_data.domain import Job

DEFAULT = 50
MOST = 1_000
FURTHEST = 1_000_000
_TOKEN = Struct(">8sqq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def size(asked: int) -> int:
    """How many a page has. Raises `InvalidFieldError`."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", f"give 1 to {MOST}, or 0 for {DEFAULT}")
    return min(asked or DEFAULT, MOST)


def skipped(page: int, page_size: int, page_token: str) -> int:
    """How many jobs come before a page that is named by its number. Raises `InvalidFieldError`."""
    if page < 0 or page > FURTHEST:
        raise InvalidFieldError("page", f"is {page}", f"give 1 to {FURTHEST:,}")
    if page and page_token:
        raise InvalidFieldError("page", "is given beside page_token", "give one of them")
    return max(0, page - 1) * page_size


def token(owner: str, last: Job) -> str:
    """The token of the page behind a job."""
    at = (last.created_at - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(_TOKEN.pack(_digest(owner), at, last.id)).decode().rstrip("=")


def behind(page_token: str, owner: str) -> tuple[datetime, int] | None:
    """What a page begins behind; None for the first. Raises `PageTokenMismatchError`."""
    if not page_token:
        return None
    try:
        packed = urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        digest, at, job_id = _TOKEN.unpack(packed)
        moment = _EPOCH + at * _MICROSECOND
    except (Base64Error, StructError, ValueError, OverflowError):
        digest, moment, job_id = b"", _EPOCH, 0
    if digest != _digest(owner):
        raise PageTokenMismatchError(
            "page_token is not one of this list: send back next_page_token as it came, "
            "or leave it out to begin anew"
        )
    return moment, job_id


def _digest(owner: str) -> bytes:
    return hashlib.sha256(f"jobs/{owner}".encode()).digest()[:8]
