"""Sessions over PostgreSQL: work runs on the loop, each statement a round trip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from asgard_server.store.postgres_link import Link
from asgard_server.store.sql.session import Engine, Row, Session

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

T = TypeVar("T")


class PostgresSession:
    """Statements on a connection, in the transaction that is open there."""

    engine: Engine = "postgres"
    for_update = " FOR UPDATE"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Every row that a statement answers."""
        return [tuple(row) for row in await self._connection.fetch(numbered(sql), *values)]

    async def one(self, sql: str, *values: object) -> Row | None:
        """The first row, or None."""
        row = await self._connection.fetchrow(numbered(sql), *values)
        return None if row is None else tuple(row)

    async def value(self, sql: str, *values: object) -> Any:
        """The first column of the first row, or None."""
        return await self._connection.fetchval(numbered(sql), *values)

    async def run(self, sql: str, *values: object) -> int:
        """Run a statement; answer how many rows it changed."""
        said = await self._connection.execute(numbered(sql), *values)
        count = said.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""
        await self._connection.executemany(numbered(sql), rows)


class PostgresSessions:
    """A `Database` over a pool of connections whose search_path finds the tables."""

    engine: Engine = "postgres"

    def __init__(self, link: Link) -> None:
        self._link = link

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work as one transaction."""
        async with self._link.connection() as connection, connection.transaction():
            return await work(PostgresSession(connection))

    async def read(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work that sees one moment of the database."""

        async def reading(connection: Connection) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await work(PostgresSession(connection))

        return await self._link.read(reading)

    async def look(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work whose statements may see different moments: no transaction is begun for them."""
        return await self._link.read(lambda connection: work(PostgresSession(connection)))


@lru_cache(maxsize=2048)
def numbered(sql: str) -> str:
    """The statement with `$1`, `$2`, ... for its question marks; none of ours has one in a text."""
    first, *others = sql.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
