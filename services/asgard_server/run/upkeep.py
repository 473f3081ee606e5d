"""The ports of whoever notices other writers: a place as it is watched, and an index kept true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

from asgard_server.run.store import Entry, Key, Kind


class Rhythm(NamedTuple):
    """How often a place wants to be looked at, in seconds.

    `scan_s`: after how long it is listed whole where nothing tells that it has moved; None
    where its pulse always tells.
    """

    look_s: float
    scan_s: float | None


class WatchedPlace(Protocol):
    """How a place tells of documents that others wrote into it."""

    @property
    def rhythm(self) -> Rhythm:
        """How often it wants to be looked at."""

    @property
    def rings(self) -> bool:
        """Whether `listen` rings at all; else the place is only looked at."""

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """Say inside whether it is this process that looks; all check, and one is enough."""

    async def check(self) -> None:
        """Raise `StorageUnavailable` when the place is gone, or is another than was opened."""

    async def pulse(self) -> str | None:
        """Answer a word that changes whenever a document may have come, changed or gone.

        None where nothing short of a scan tells.
        """

    async def news(self, newest: Mapping[Kind, str | None]) -> list[Entry]:
        """List what may have come lately; only a scan tells what has changed or gone.

        `newest`: the id known that tells of the latest time, for each kind. Nothing where
        `pulse` tells. Raises `StorageUnavailable` if the listing is not whole.
        """

    async def scan(self, kind: Kind) -> Iterable[Entry]:
        """List all documents of a kind, as `Documents.scan` does."""

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[frozenset[Key] | None]]:
        """Yield documents that were touched after entering; None stands for too many to name.

        A bell only: some may be missed, without a word.
        """


class IndexUpkeep(Protocol):
    """How an index is made and kept true to a place that others write into."""

    async def building(self) -> bool:
        """Say whether the index is new and does not yet know all documents.

        An index that was thrown away under a running service is noticed here and begun anew.
        """

    async def forget(self) -> None:
        """Throw away what was made from documents: `building` is true then, under a new epoch."""

    async def rebuild(self, listings: Sequence[tuple[Kind, Iterable[Entry]]]) -> int:
        """Take in all documents listed, results before runs, without logging them; count them.

        Then begin a new epoch, so that watchers are reset: they cannot have been told.
        What is served meanwhile is what has been taken in so far.
        """

    async def compare(
        self, kind: Kind, listing: Iterable[Entry], started_at: datetime
    ) -> list[Key]:
        """Name the documents about which a listing and the index disagree.

        Those whose stamp differs, those unknown, and those not listed whose row is older
        than `started_at`, when the listing began. Raises what consuming `listing` raises:
        a listing that broke off says nothing about what is missing from it.
        """

    async def newest(self, kind: Kind) -> str | None:
        """The id that tells of the latest time, of those known that tell one; None without any.

        Times to come are left out: they would hide all that is made until then.
        """

    async def unknown(self, entries: Sequence[Entry]) -> list[Key]:
        """Those of `entries` whose stamp is not the one the index knows."""

    async def stale(self, keys: Sequence[Key]) -> list[Key]:
        """Those of `keys` whose document's stamp is not the one the index knows."""
