"""A transaction as a port: statements that SQLite and PostgreSQL both understand.

Statements have `?` for their values. Their language is what both engines speak: ON CONFLICT,
RETURNING, common table expressions, rows compared as tuples; 0 and 1 for no and yes; times as whole
microseconds since 1970. Where they differ (search by words), a statement looks at `engine`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")

Engine = Literal["sqlite", "postgres"]
Row = tuple[Any, ...]


class Session(Protocol):
    """A transaction under way."""

    @property
    def engine(self) -> Engine:
        """Who runs the statements."""

    @property
    def for_update(self) -> str:
        """What a SELECT ends with that locks its rows; nothing where writers come one by one."""

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Every row that a statement answers."""

    async def one(self, sql: str, *values: object) -> Row | None:
        """The first row, or None."""

    async def value(self, sql: str, *values: object) -> Any:
        """The first column of the first row, or None."""

    async def run(self, sql: str, *values: object) -> int:
        """Run a statement; answer how many rows it changed."""

    async def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""


class Database(Protocol):
    """A database whose work is written as coroutines over a session.

    Work awaits nothing but its session: on SQLite it runs to its end in the thread that writes. It
    may be run twice where the first attempt came to nothing, so it changes nothing but the
    database. Methods raise `StorageUnavailableError`, `StorageFullError`, and what the work raises.
    """

    @property
    def engine(self) -> Engine:
        """Whose database it is."""

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work as one transaction, all or nothing; it is on disk when this returns."""

    async def read(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work that sees one moment of the database."""

    async def look(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run work of one statement, or whose statements may see different moments."""


def marks(values: Sequence[object]) -> str:
    """Placeholders for a list of values: `?, ?, ?`; NULL, which equals nothing, for none."""
    return ", ".join("?" * len(values)) or "NULL"
