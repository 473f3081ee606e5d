"""Sessions over SQLite: work runs in the thread of the database's connection, to its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import Any, TypeVar, cast

from asgard_server.store.sql.session import Engine, Row, Session
from asgard_server.store.sqlite_database import SqliteDatabase

T = TypeVar("T")


class SqliteSession:
    """Statements on a connection, in the transaction that is open there."""

    engine: Engine = "sqlite"
    # One writes at a time, and sees what the one before has committed.
    for_update = ""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Every row that a statement answers."""
        return self._connection.execute(sql, cast(Any, values)).fetchall()

    async def one(self, sql: str, *values: object) -> Row | None:
        """The first row, or None."""
        found: Row | None = self._connection.execute(sql, cast(Any, values)).fetchone()
        return found

    async def value(self, sql: str, *values: object) -> Any:
        """The first column of the first row, or None."""
        found = await self.one(sql, *values)
        return None if found is None else found[0]

    async def run(self, sql: str, *values: object) -> int:
        """Run a statement; answer how many rows it changed."""
        return self._connection.execute(sql, cast(Any, values)).rowcount

    async def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""
        self._connection.executemany(sql, cast(Any, rows))


class SqliteSessions:
    """A `Database` over a database file that others of this process may use, too."""

    engine: Engine = "sqlite"

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work as one transaction; it shares the disk's flush with what waits beside it."""
        return await self._database.write(_within(work))

    async def read(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work that sees one moment of the database."""
        return await self._database.read(_within(work))

    look = read


def _within(work: Callable[[Session], Awaitable[T]]) -> Callable[[sqlite3.Connection], T]:
    """Work as a job of the thread, which knows the request that it is done for."""
    context = copy_context()
    return lambda connection: context.run(ended, work, connection)


def ended(work: Callable[[Session], Awaitable[T]], connection: sqlite3.Connection) -> T:
    """What work answers: a session never waits, so the first step of its coroutine is its last."""
    steps = cast("Coroutine[Any, Any, T]", work(SqliteSession(connection)))
    try:
        steps.send(None)
    except StopIteration as ended:
        return cast(T, ended.value)
    steps.close()
    raise RuntimeError(f"{work!r} awaited something that is not its session")
