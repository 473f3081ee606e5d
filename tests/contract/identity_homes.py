"""IdentityService's rooms over each engine, with a clock that a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.identity.domain import Asked, KeyWish
from asgard_server.identity.groups import Groups
from asgard_server.identity.keys import Keys
from asgard_server.identity.people import People
from asgard_server.identity.verifying import LookUps
from asgard_server.store.sql.identity import SqlDirectory
from asgard_server.store.sql.session import Database, Session

from tests.contract.sql_homes import database

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
A_USERS_KEY = KeyWish("laptop", "user", None, None, None)


@dataclass
class Home:
    """A directory, and what is done with it. `told` counts the changes that were told of."""

    database: Database
    now: datetime = NOON
    told: int = 0

    def __post_init__(self) -> None:
        self.directory = SqlDirectory(self.database)
        self.people = People(self.directory, self._told)
        self.groups = Groups(self.directory, self._told)
        self.keys = Keys(self.directory, self._told)

    def _told(self) -> None:
        self.told += 1

    def asked(self, by: Principal = LOCAL) -> Asked:
        """Somebody asks now; a microsecond passes."""
        self.now += timedelta(microseconds=1)
        return Asked(by, self.now)

    async def user(self, handle: str) -> Principal:
        """Make a user; answer them as they call, before they are a member of anything."""
        made = await self.people.create(self.asked(), "", handle, handle.title(), None)
        return Principal(made.sub, handle=f"@{handle}")

    async def again(self, principal: Principal) -> Principal:
        """A user as they call now: with what they are a member of, as a key of theirs says."""
        _, key = await self.keys.create(self.asked(), A_USERS_KEY, principal.sub)
        found = (await LookUps(self.directory, lambda: self.now)(key)).principal
        assert found is not None
        return found

    async def audit(self) -> list[tuple[str, str, str, str]]:
        """Who did what to which kind of thing, in order."""

        async def rows(session: Session) -> list[tuple[str, str, str, str]]:
            return [
                (row[0], row[1], row[2], row[3])
                for row in await session.all(
                    "SELECT principal, action, object_kind, object_id FROM audit ORDER BY number"
                )
            ]

        return await self.database.read(rows)


@asynccontextmanager
async def home(engine: str, folder: Path) -> AsyncIterator[Home]:
    """Open an empty directory in `folder`, or in a database of its own."""
    async with database(engine, folder) as opened:
        yield Home(opened)
