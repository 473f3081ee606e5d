"""How long an index keeps what only those want who come late."""

from __future__ import annotations

from typing import NamedTuple

DAY = 24 * 60 * 60 * 1_000_000
"""A day, in microseconds."""


class Kept(NamedTuple):
    """How much is kept: entries of the change log, and days of them, of tombstones and requests.

    A watcher further behind begins again with a snapshot. The newest entry always stays: by
    it an index knows that others are missing.
    """

    entries: int = 1_000_000
    days: int = 30


USUAL = Kept()
