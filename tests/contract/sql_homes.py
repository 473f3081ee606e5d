"""The databases whose work is written once, SQLite and PostgreSQL, each empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from asgard_server.store.postgres_link import Link
from asgard_server.store.sql.postgres import PostgresSessions
from asgard_server.store.sql.session import Database, Engine, Row, Session
from asgard_server.store.sql.sqlite import SqliteSessions
from asgard_server.store.sqlite_database import SqliteDatabase

from tests.engines import postgres

ENGINES = ("sqlite", "postgres")


@asynccontextmanager
async def database(engine: str, folder: Path) -> AsyncIterator[Database]:
    """Open a database with all tables, in `folder` or in a database of its own."""
    if engine == "sqlite":
        file = await SqliteDatabase.open(folder / "asgard.sqlite3")
        try:
            yield SqliteSessions(file)
        finally:
            await file.close()
        return
    dsn = await postgres.database_of(folder)
    link = await Link.open(dsn, 4, planned_once=True, by_index=True, search_path="asgard")
    try:
        yield PostgresSessions(link)
    finally:
        await link.close()
        postgres.give_back(folder)


class Counting:
    """A session that counts what it is asked; rows of `many` are one statement each."""

    session: Session
    statements = 0

    @property
    def engine(self) -> Engine:
        return self.session.engine

    @property
    def for_update(self) -> str:
        return self.session.for_update

    async def all(self, sql: str, *values: object) -> list[Row]:
        self.statements += 1
        return await self.session.all(sql, *values)

    async def one(self, sql: str, *values: object) -> Row | None:
        self.statements += 1
        return await self.session.one(sql, *values)

    async def value(self, sql: str, *values: object) -> Any:
        self.statements += 1
        return await self.session.value(sql, *values)

    async def run(self, sql: str, *values: object) -> int:
        self.statements += 1
        return await self.session.run(sql, *values)

    async def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        rows = list(rows)
        # SQLite has no other form for the entries of the log: they are of the same process.
        self.statements += 1 if self.engine == "sqlite" else len(rows)
        await self.session.many(sql, rows)
