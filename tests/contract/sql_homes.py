"""The databases whose work is written once, SQLite and PostgreSQL, each empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asgard_server.store.postgres_link import Link
from asgard_server.store.sql.postgres import PostgresSessions
from asgard_server.store.sql.session import Database
from asgard_server.store.sql.sqlite import SqliteSessions
from asgard_server.store.sqlite_database import SqliteDatabase

from tests.engines import postgres

ENGINES = ("sqlite", "postgres")


@asynccontextmanager
async def database(engine: str, folder: Path) -> AsyncIterator[Database]:
    """Open a database with all tables, in `folder` or in a database of its own."""
    if engine == "sqlite":
        file = await SqliteDatabase.open(folder / "asgard.sqlite3")
        yield SqliteSessions(file)
        await file.close()
        return
    dsn = await postgres.database_of(folder)
    link = await Link.open(dsn, 4, planned_once=True, by_index=True, search_path="asgard")
    yield PostgresSessions(link)
    await link.close()
    postgres.give_back(folder)
