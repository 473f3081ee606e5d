"""The index and change log of one folder, in SQLite: `RunIndex` and `IndexUpkeep`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from asgard_server.run.store import (
    Change,
    Entry,
    Found,
    Key,
    Kind,
    News,
    Position,
    ResultRow,
    RunRow,
)
from asgard_server.run.store import Readers as StoredReaders
from asgard_server.store import sqlite_rows, sqlite_search, sqlite_upkeep
from asgard_server.store.log_tail import LogTail
from asgard_server.store.retention import USUAL, Kept
from asgard_server.store.rows import (
    RESULT_COLUMNS,
    RUN_COLUMNS,
    from_micros,
    result_row,
    run_row,
    runs_of_results,
    to_micros,
)
from asgard_server.store.sqlite_link import Readers
from asgard_server.store.sqlite_schema import IndexFile, errors_of_the_port
from asgard_server.store.sqlite_transaction import Transaction
from asgard_server.store.sqlite_writer import Ahead, Committed, Work, Writer
from asgard_server.store.written import Written

T = TypeVar("T")


def system_clock() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)


class SqliteRunIndex:
    """Rows and log of the documents of one storage, shared by all processes on this machine.

    One thread writes, two read for requests, one reads for upkeep; each has a connection
    of its own and no SQL runs on the event loop. Methods raise `StorageUnavailableError`
    when a document must be read and the place is gone.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Key], Found | None],
        *,
        storage_id: str | None,
        stamp: Callable[[Key], str | None] | None = None,
        clock: Callable[[], datetime] = system_clock,
        boot_id: str | None = None,
        kept: Kept = USUAL,
        written: Written | None = None,
    ) -> None:
        self._read = read
        self._stamp = stamp or (lambda key: found.stamp if (found := read(key)) else None)
        self._clock = clock
        self._kept = kept
        self._written = written
        self._counts = sqlite_search.Counts()
        self._file = IndexFile(path, storage_id or "", boot_id)
        self._readers = Readers(self._file, 2, "index-reader")
        self._upkeep = Readers(self._file, 1, "index-upkeep")
        self._tail = LogTail()
        self._writer = Writer(self._file, self._begin, self._tail)

    @classmethod
    async def open(
        cls,
        path: Path,
        read: Callable[[Key], Found | None],
        *,
        storage_id: str | None,
        stamp: Callable[[Key], str | None] | None = None,
        clock: Callable[[], datetime] = system_clock,
        boot_id: str | None = None,
        kept: Kept = USUAL,
        written: Written | None = None,
    ) -> SqliteRunIndex:
        """Open the index at `path`, made anew when it is missing, damaged or of another storage.

        `read` reads a document as it now is, None when there is none, and must refuse to
        believe that one is gone while the place itself is not there; `stamp` does the same
        with a stat alone. Both are called in threads. `kept`: how far back the change log
        reaches. `written`: what this process writes itself, under a ledger. Raises OSError or
        sqlite3.Error when there can be no file at `path`.
        """
        index = cls(
            path,
            read,
            storage_id=storage_id,
            stamp=stamp,
            clock=clock,
            boot_id=boot_id,
            kept=kept,
            written=written,
        )
        try:
            await index._write(lambda transaction: None)
        except BaseException:
            await index.close()
            raise
        return index

    async def close(self) -> None:
        """Finish what is being written and close all connections."""
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.close)
        await asyncio.to_thread(self._upkeep.close)

    def _now(self) -> int:
        return to_micros(self._clock())

    def _begin(self, connection: sqlite3.Connection) -> Transaction:
        return Transaction(
            connection, self._read, self._now(), written=self._written, kept=self._kept
        )

    async def _write(self, job: Callable[[Transaction], Any]) -> Committed:
        with errors_of_the_port(self._file.path):
            return await self._writer.ask(job)

    async def _look_up(self, job: Callable[[sqlite3.Connection], T]) -> T:
        with errors_of_the_port(self._file.path):
            return await self._readers.run(job)

    def errors(self) -> AbstractContextManager[None]:
        """Turn what SQLite and the file system say of the index into the port's errors."""
        return errors_of_the_port(self._file.path)

    def put(self, work: Work | Ahead) -> None:
        """Queue jobs of any thread for the one that writes."""
        self._writer.put(work)

    # RunIndex: writing

    async def observe(self, keys: Sequence[Key]) -> int:
        """Make rows and log agree with what the documents now say; answer the head revision."""
        distinct = list(dict.fromkeys(keys))

        def observe_all(transaction: Transaction) -> None:
            for key in distinct:
                transaction.observe(key)

        return (await self._write(observe_all)).head

    async def take_in(self, keys: Sequence[Key], result: Key) -> tuple[int, ResultRow | None]:
        """Observe, and answer the row of one of the results as well, None when it is gone."""
        return await self.observe(keys), await self.result(result.id)

    async def remember(self, key: Key, digest: bytes) -> None:
        """Keep the digest of the request that created `key`, for 30 days."""
        await self._write(lambda transaction: transaction.remember(key, digest))

    # RunIndex: reading

    async def run(self, run_id: str) -> RunRow | None:
        """Look up a run."""
        found = await self.rows([Key("run", run_id)])
        row = found.get(Key("run", run_id))
        return row if isinstance(row, RunRow) else None

    async def result(self, result_id: str) -> ResultRow | None:
        """Look up a result."""
        found = await self.rows([Key("result", result_id)])
        row = found.get(Key("result", result_id))
        return row if isinstance(row, ResultRow) else None

    async def rows(self, keys: Sequence[Key]) -> dict[Key, RunRow | ResultRow]:
        """Look up many at once, as of one moment; those that are gone are left out."""

        return await self._look_up(partial(sqlite_rows.rows_of, keys=keys))

    async def list_runs(
        self,
        query: str,
        behind: Position | None,
        limit: int,
        by: frozenset[str] | None = None,
    ) -> tuple[list[RunRow], int]:
        """Runs newest first that match `query`, and how many match (counted to 10,001)."""
        position = None if behind is None else (to_micros(behind.created_at), behind.id)

        def list_page(connection: sqlite3.Connection) -> tuple[list[RunRow], int]:
            return sqlite_search.list_runs(connection, self._counts, query, position, limit, by)

        return await self._look_up(list_page)

    async def list_results(
        self, run_id: str, behind: Position | None, limit: int
    ) -> list[ResultRow]:
        """Results of a run, oldest first by (created_at, id)."""
        position = () if behind is None else (to_micros(behind.created_at), behind.id)
        return await self._look_up(
            lambda connection: sqlite_rows.results_of(connection, run_id, position, limit)
        )

    async def result_ids(self, run_id: str) -> list[str]:
        """Ids of all results of a run, oldest first by (created_at, id)."""
        return await self._look_up(lambda connection: sqlite_rows.result_ids(connection, run_id))

    async def walk(
        self, kind: Kind, behind: str, limit: int, by: frozenset[str] | None = None
    ) -> list[RunRow] | list[ResultRow]:
        """All rows of a kind in the order of their ids, those > `behind`: for snapshots."""

        def walk_runs(connection: sqlite3.Connection) -> list[RunRow]:
            rows = sqlite_rows.walked(connection, RUN_COLUMNS, "runs", behind, limit, by)
            return [run_row(row) for row in rows]

        def walk_results(connection: sqlite3.Connection) -> list[ResultRow]:
            rows = sqlite_rows.walked(connection, RESULT_COLUMNS, "results", behind, limit, by)
            return [result_row(row) for row in rows]

        if kind == "run":
            return await self._look_up(walk_runs)
        return await self._look_up(walk_results)

    async def circles(self, run_ids: Sequence[str]) -> dict[str, StoredReaders]:
        """Who may read these runs; those that are not there are left out."""
        return await self._look_up(partial(sqlite_rows.circles_of, run_ids=run_ids))

    async def changes(self, behind: int, limit: int) -> list[Change]:
        """Log entries with revision > `behind`, in order. Raises `RevisionGoneError`."""

        return await self._look_up(partial(sqlite_rows.changes_behind, behind=behind, limit=limit))

    async def news(self, epoch: str, behind: int, limit: int) -> News:
        """Entries behind a revision, their rows, and the head. Raises `RevisionGoneError`."""
        if (known := self._tail.behind(epoch, behind, limit)) is not None:
            return known

        def read_news(connection: sqlite3.Connection) -> News:
            now, head = sqlite_rows.head(connection)
            if now != epoch:
                return News(now, head, [], {})
            changes = sqlite_rows.changes_behind(connection, behind, limit)
            rows = sqlite_rows.rows_of(connection, [each.key for each in changes if not each.gone])
            circles = sqlite_rows.circles_of(connection, runs_of_results(rows))
            return News(now, head, changes, rows, circles)

        return await self._look_up(read_news)

    async def head(self) -> tuple[str, int]:
        """The epoch, and the newest revision."""
        return await self._look_up(sqlite_rows.head)

    async def recall(self, key: Key) -> bytes | None:
        """The digest kept by `remember`, None when unknown."""
        row = await self._one("SELECT digest FROM requests WHERE kind = ? AND id = ?", *key)
        return None if row is None else bytes(row[0])

    async def tombstone(self, key: Key) -> datetime | None:
        """When `key` was deleted, if that is less than 30 days ago."""
        row = await self._one("SELECT at FROM tombstones WHERE kind = ? AND id = ?", *key)
        if row is None:
            return None
        at = from_micros(row[0])
        return at if self._clock() - at < timedelta(days=self._kept.days) else None

    async def _one(self, sql: str, *arguments: str) -> tuple[Any, ...] | None:
        def look_up(connection: sqlite3.Connection) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(sql, arguments).fetchone()
            return row

        return await self._look_up(look_up)

    # IndexUpkeep

    async def building(self) -> bool:
        """Say whether the index is new and does not yet know all documents."""
        row = await self._one("SELECT value FROM meta WHERE key = 'state'")
        return row == ("building",)

    async def forget(self) -> None:
        """Put a new file in its place: whoever has it open begins anew with that one."""
        with errors_of_the_port(self._file.path):
            await asyncio.to_thread(self._file.renew)

    async def rebuild(self, listings: Sequence[tuple[Kind, Iterable[Entry]]]) -> int:
        """Take in all documents listed, results before runs, without logging; count them.

        Then begin a new epoch.
        """

        def take_all(connection: sqlite3.Connection) -> int:
            return sqlite_upkeep.rebuild(connection, self._writer, self._read, self._now, listings)

        with errors_of_the_port(self._file.path):
            return await self._upkeep.run(take_all)

    async def compare(
        self, kind: Kind, listing: Iterable[Entry], started_at: datetime
    ) -> list[Key]:
        """Name the documents about which a listing and the index disagree."""
        started = to_micros(started_at)
        with errors_of_the_port(self._file.path):
            ids = await self._upkeep.run(
                lambda connection: sqlite_upkeep.compare(
                    connection, kind, listing, started, self._now
                )
            )
        return [Key(kind, one) for one in ids]

    async def newest(self, kind: Kind) -> str | None:
        """The id that tells of the latest time until now, None when none tells one."""
        now = self._clock()
        return await self._look_up(lambda connection: sqlite_upkeep.newest(connection, kind, now))

    async def unknown(self, entries: Sequence[Entry]) -> list[Key]:
        """Those of `entries` whose stamp is not the one the index knows."""
        return await self._look_up(lambda connection: sqlite_upkeep.unknown(connection, entries))

    async def stale(self, keys: Sequence[Key]) -> list[Key]:
        """Those of `keys` whose document's stamp is not the one the index knows."""

        def look(connection: sqlite3.Connection) -> list[Key]:
            known = sqlite_upkeep.known_stamp
            return [key for key in keys if self._stamp(key) != known(connection, key)]

        return await self._look_up(look)
