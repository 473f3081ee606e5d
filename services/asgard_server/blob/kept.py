"""Objects under keys of RunService's: arrays of results, of which there are no rows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.blob import limits
from asgard_server.blob.domain import Way
from asgard_server.blob.limits import CONTENT_TYPE, checked_sha256, checked_size

_ARRAY_KEY = re.compile(r"files/[A-Za-z0-9][A-Za-z0-9._~%-]{0,250}\.npy")


@dataclass(frozen=True, slots=True)
class Kept:
    """An object under a key of RunService's: the array of a result."""

    key: str
    size_bytes: int
    sha256: str | None = None
    upload_id: str | None = None
    content_type: str = CONTENT_TYPE

    @property
    def arrives_at(self) -> str:
        """The key itself: nobody else may write it, and what it has cannot change."""
        return self.key

    @property
    def way(self) -> Way:
        """In one request that the store checks, or in parts."""
        return "checked" if self.size_bytes <= limits.SINGLE_BYTES else "parts"


def kept(key: str, size_bytes: int, sha256: str | None, at: str = "") -> Kept:
    """An object of RunService's that is to come. Raises `InvalidFieldError`."""
    checked_size(size_bytes, f"{at}size_bytes")
    made = Kept(kept_key(key, f"{at}key"), size_bytes, checked_sha256(sha256, f"{at}sha256"))
    if made.way == "checked" and made.sha256 is None:
        raise InvalidFieldError(
            f"{at}sha256",
            "is missing",
            f"give it for what has at most {limits.SINGLE_BYTES:,} bytes",
        )
    return made


def kept_key(key: str, field: str) -> str:
    """Answer a key under which arrays of results lie. Raises `InvalidFieldError`."""
    if not _ARRAY_KEY.fullmatch(key):
        raise InvalidFieldError(field, f"is {key!r}", "give files/<name>.npy")
    return key
