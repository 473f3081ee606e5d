"""What is asked of a change log that is watched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from asgard_server.watching.frames import Event

# Objects, or entries, that a source answers in one go at most.
PAGE = 250


class LogGoneError(Exception):
    """The log no longer reaches back to this revision."""


@dataclass(frozen=True, slots=True)
class News:
    """Entries of the log, encoded, with the log's epoch and its newest revision."""

    epoch: str
    head: int
    events: list[Event]


class Source(Protocol):
    """A change log and what it tells of, encoded."""

    async def head(self) -> tuple[str, int]:
        """The log's epoch, and its newest revision."""

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        """Entries that follow a revision, those of another epoch too. Raises `LogGoneError`."""

    def everything(self, scope: str) -> AsyncIterator[list[Event]]:
        """All objects there are, or those of one scope, without revisions."""
