"""Two transactions that certainly overlap: the second begins when the first has done all its work
and has not committed.

PostgreSQL alone lets them. SQLite has one writer, whose jobs come one after the other, so there
the two are begun at once, and the order is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asgard_server.store.sql.session import Database, Engine, Session

T = TypeVar("T")

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Overlapping:
    """A `Database` that can keep a transaction from committing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_armed = False
        self._holding = asyncio.Event()
        self._other_ended = asyncio.Event()

    @property
    def engine(self) -> Engine:
        """As the database's."""
        return self._database.engine

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work as one transaction, which commits late if it is the first of a pair."""

        async def late(session: Session) -> T:
            answer = await work(session)
            if session.engine == "postgres" and self._is_armed:
                self._is_armed = False
                self._holding.set()
                await self._other_is_stuck()
            return answer

        return await self._database.write(late)

    async def read(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """As the database does."""
        return await self._database.read(work)

    async def look(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """As the database does."""
        return await self._database.look(work)

    async def pair(
        self, first: Callable[[], Awaitable[Any]], second: Callable[[], Awaitable[Any]]
    ) -> list[Any]:
        """What each of two calls answers or raises; their transactions overlap."""
        self._is_armed = True
        self._holding.clear()
        self._other_ended.clear()
        one = asyncio.ensure_future(first())
        if self.engine == "postgres":
            holding = asyncio.ensure_future(self._holding.wait())
            await asyncio.wait((one, holding), return_when=asyncio.FIRST_COMPLETED)
            assert holding.done(), f"the first ended before it was to commit: {one}"
        two = asyncio.ensure_future(second())
        two.add_done_callback(lambda _: self._other_ended.set())
        return list(await asyncio.gather(one, two, return_exceptions=True))

    async def _other_is_stuck(self) -> None:
        """Return when the other one waits for a lock, or has come to its end without."""
        while not self._other_ended.is_set():
            if await self._database.look(lambda session: session.value(_WAITING)):
                return
            await asyncio.sleep(0.002)
