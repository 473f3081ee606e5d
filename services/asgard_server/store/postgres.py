"""The index and change log of one storage, in PostgreSQL: `RunIndex` and `IndexUpkeep`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.run.store import (
    Change,
    Entry,
    Key,
    Kind,
    News,
    Position,
    Readers,
    ResultRow,
    RevisionGoneError,
    RunRow,
)
from asgard_server.store import migrate, postgres_readers, postgres_search, postgres_upkeep
from asgard_server.store.gathering import Gathering
from asgard_server.store.postgres_link import Link
from asgard_server.store.postgres_readers import Counts
from asgard_server.store.postgres_rounds import Rounds
from asgard_server.store.postgres_search import RUN_COLUMNS, RUNS
from asgard_server.store.postgres_transaction import Read
from asgard_server.store.postgres_writer import Writer
from asgard_server.store.retention import USUAL, Kept
from asgard_server.store.rows import (
    from_micros,
    result_row,
    run_row,
    runs_of_results,
    to_micros,
    unspelt,
)
from asgard_server.store.written import Written

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

_RESULT_COLUMNS = "id, run_id, result_type, display, sorted_at, digest"
# Of its connections, those of the task that writes, and of what it removes beside; if there are so
# many.
_WRITING = 2


def system_clock() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)


class PostgresRunIndex:
    """Rows and log of the documents of one storage, shared by all replicas.

    One task writes; reads take any connection of the pool. Methods raise
    `StorageUnavailableError` when the database, or the place of documents, is not there.
    """

    def __init__(
        self,
        link: Link,
        writing: Link,
        read: Read,
        *,
        stamp: Callable[[Key], Awaitable[str | None]] | None,
        clock: Callable[[], datetime],
        kept: Kept,
        written: Written | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        async def stamp_of(key: Key) -> str | None:
            found = await read(key)
            return found.stamp if found else None

        self._link = link
        self._counts = Counts()
        self._writing = writing
        self._read = read
        self._stamp = stamp or stamp_of
        self._clock = clock
        self._kept = kept
        # Those who are answered together ask again together.
        self._looking_up: Gathering[str, ResultRow | None] = Gathering(self._result_rows)
        self._burying: Gathering[Key, datetime | None] = Gathering(self._graves)
        self._writer = Writer(writing, read, self._now, kept, written, rounds)

    @classmethod
    async def open(
        cls,
        dsn: str,
        read: Read,
        *,
        storage_id: str,
        stamp: Callable[[Key], Awaitable[str | None]] | None = None,
        clock: Callable[[], datetime] = system_clock,
        connections: int = 8,
        kept: Kept = USUAL,
        written: Written | None = None,
        rounds: Rounds | None = None,
    ) -> PostgresRunIndex:
        """Open the index in the database at `dsn`, of the storage `storage_id`.

        `read` reads a document as it now is, None when there is none, and must refuse to
        believe that one is gone while the place itself is not there; `stamp` tells its stamp
        alone. `kept`: how far back the change log reaches. `written`: what this process writes
        itself, under a ledger; `rounds`: those of that ledger, in the same database. Raises
        `StorageUnavailableError` when the database does not answer or is another storage's,
        `SchemaError` when its schema is not one that this release can use.
        """
        of_writer = min(_WRITING, max(1, connections // 2))
        link = await Link.open(dsn, max(1, connections - of_writer))
        try:
            async with link.connection() as connection:
                await migrate.check(connection, link.place)
                await _claim(connection, link.place, storage_id)
            writing = await Link.open(dsn, of_writer, planned_once=True)
        except BaseException:
            await link.close()
            raise
        return cls(
            *(link, writing, read),
            stamp=stamp,
            clock=clock,
            kept=kept,
            written=written,
            rounds=rounds,
        )

    async def close(self) -> None:
        """Finish what is being written and close all connections."""
        await self._writer.close()
        await self._writing.close()
        await self._link.close()

    def _now(self) -> int:
        return to_micros(self._clock())

    # RunIndex: writing

    async def observe(self, keys: Sequence[Key]) -> int:
        """Make rows and log agree with what the documents now say; answer the head revision."""
        return (await self._writer.observe(list(dict.fromkeys(keys)))).head

    async def take_in(self, keys: Sequence[Key], result: Key) -> tuple[int, ResultRow | None]:
        """Observe, and answer the row of one of the results as well, None when it is gone.

        A row that this very commit has made is not asked for.
        """
        outcome = await self._writer.observe(list(dict.fromkeys(keys)))
        made = outcome.made.get(result)
        if made is not None:
            return outcome.head, made
        return outcome.head, await self._looking_up.ask(result.id)

    async def remember(self, key: Key, digest: bytes) -> None:
        """Keep the digest of the request that created `key`, for 30 days."""
        await self._writer.remember(key, digest)

    # RunIndex: reading

    async def run(self, run_id: str) -> RunRow | None:
        """Look up a run."""
        rows = await self._fetch(f"SELECT {RUN_COLUMNS} FROM {RUNS} WHERE d.id = $1", run_id)  # noqa: S608 - ours
        return run_row(rows[0]) if rows else None

    async def result(self, result_id: str) -> ResultRow | None:
        """Look up a result."""
        found = await self._results("WHERE id = $1", result_id)
        return found[0] if found else None

    async def rows(self, keys: Sequence[Key]) -> dict[Key, RunRow | ResultRow]:
        """Look up many at once, as of one moment; those that are gone are left out."""
        runs = [key.id for key in keys if key.kind == "run"]
        results = [key.id for key in keys if key.kind == "result"]
        if not runs and len(results) == 1:
            row = await self._looking_up.ask(results[0])
            return {} if row is None else {Key("result", row.id): row}

        async def look_up(connection: Connection) -> dict[Key, RunRow | ResultRow]:
            found: dict[Key, RunRow | ResultRow] = {}
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if runs:
                    for row in await connection.fetch(
                        f"SELECT {RUN_COLUMNS} FROM {RUNS} WHERE d.id = ANY($1::text[])",  # noqa: S608 - ours
                        runs,
                    ):
                        found[Key("run", row[0])] = run_row(tuple(row))
                if results:
                    for row in await connection.fetch(
                        f"SELECT {_RESULT_COLUMNS} FROM asgard.results"  # noqa: S608 - ours
                        " WHERE id = ANY($1::text[])",
                        results,
                    ):
                        found[Key("result", row[0])] = _result_row(tuple(row))
            return found

        return await self._link.read(look_up)

    async def list_runs(
        self,
        query: str,
        behind: Position | None,
        limit: int,
        by: frozenset[str] | None = None,
    ) -> tuple[list[RunRow], int]:
        """Runs newest first that match `query`, and how many match (counted to 10,001)."""
        position = None if behind is None else (to_micros(behind.created_at), behind.id)
        return await self._link.read(
            lambda connection: postgres_search.list_runs(
                connection, query, position, limit, by, self._counts
            )
        )

    async def list_results(
        self, run_id: str, behind: Position | None, limit: int
    ) -> list[ResultRow]:
        """Results of a run, oldest first by (created_at, id)."""
        where = "" if behind is None else "AND (sorted_at, id) > ($3, $4)"
        position = () if behind is None else (to_micros(behind.created_at), behind.id)
        return await self._results(
            f"WHERE run_id = $1 {where} ORDER BY sorted_at, id LIMIT $2", run_id, limit, *position
        )

    async def result_ids(self, run_id: str) -> list[str]:
        """Ids of all results of a run, oldest first by (created_at, id)."""
        rows = await self._fetch(
            "SELECT id FROM asgard.results WHERE run_id = $1 ORDER BY sorted_at, id", run_id
        )
        return [row[0] for row in rows]

    async def walk(
        self, kind: Kind, behind: str, limit: int, by: frozenset[str] | None = None
    ) -> list[RunRow] | list[ResultRow]:
        """All rows of a kind in the order of their ids, those > `behind`: for snapshots."""
        may, keys = "", () if by is None else (sorted(by),)
        if kind == "result":
            if by is not None:
                one = postgres_readers.condition(3, "d")
                may = f" AND EXISTS (SELECT FROM asgard.runs d WHERE d.id = run_id AND {one})"
            query = f"WHERE id > $1{may} ORDER BY id LIMIT $2"
            return await self._results(query, behind, limit, *keys)
        if by is not None:
            may = f" AND {postgres_readers.condition(3, 'd')}"
        rows = await self._fetch(
            f"SELECT {RUN_COLUMNS} FROM {RUNS} WHERE d.id > $1{may} ORDER BY d.id LIMIT $2",  # noqa: S608 - ours
            *(behind, limit, *keys),
        )
        return [run_row(row) for row in rows]

    async def circles(self, run_ids: Sequence[str]) -> dict[str, Readers]:
        """Who may read these runs; those that are not there are left out."""
        if not run_ids:
            return {}
        rows = await self._fetch(
            f"SELECT id, readers, {postgres_readers.OF_EVERYBODY} FROM asgard.runs"  # noqa: S608 - ours
            " WHERE id = ANY($1::text[])",
            list(run_ids),
        )
        return {
            run_id: None if everybody else frozenset(readers or ())
            for run_id, readers, everybody in rows
        }

    async def changes(self, behind: int, limit: int) -> list[Change]:
        """Log entries with revision > `behind`, in order. Raises `RevisionGoneError`."""
        rows = await self._fetch(
            "SELECT revision, kind, id, run_id, gone, readers_before, readers_after"
            " FROM asgard.run_log WHERE revision > $1 ORDER BY revision LIMIT $2",
            *(behind, limit),
        )
        if rows and rows[0][0] != behind + 1:
            raise RevisionGoneError(behind, rows[0][0])
        return [
            Change(revision, Key(kind, object_id), run_id, gone, unspelt(before), unspelt(after))
            for revision, kind, object_id, run_id, gone, before, after in rows
        ]

    async def news(self, epoch: str, behind: int, limit: int) -> News:
        """Entries behind a revision, their rows, and the head. Raises `RevisionGoneError`."""
        changes = await self.changes(behind, limit)
        rows = await self.rows([each.key for each in changes if not each.gone]) if changes else {}
        circles = await self.circles(list(runs_of_results(rows)))
        # Asked last: an epoch that is still the reader's was that of the changes too.
        now, head = await self.head()
        return News(now, head, changes, rows, circles) if now == epoch else News(now, head, [], {})

    async def head(self) -> tuple[str, int]:
        """The epoch, and the newest revision."""
        ((epoch, revision),) = await self._fetch("SELECT epoch, revision FROM asgard.run_log_head")
        return epoch, revision

    async def recall(self, key: Key) -> bytes | None:
        """The digest kept by `remember`, None when unknown."""
        rows = await self._fetch(
            "SELECT digest FROM asgard.requests WHERE kind = $1 AND id = $2", *key
        )
        return rows[0][0] if rows else None

    async def tombstone(self, key: Key) -> datetime | None:
        """When `key` was deleted, if that is less than 30 days ago."""
        at = await self._burying.ask(key)
        return at if at and self._clock() - at < timedelta(days=self._kept.days) else None

    async def _graves(self, keys: Sequence[Key]) -> list[datetime | None]:
        rows = await self._fetch(
            "SELECT kind, id, at FROM asgard.tombstones WHERE id = ANY($1::text[])",
            [key.id for key in keys],
        )
        times = {Key(kind, id): from_micros(at) for kind, id, at in rows}
        return [times.get(key) for key in keys]

    async def _result_rows(self, ids: Sequence[str]) -> list[ResultRow | None]:
        # One statement is of one moment by itself.
        found = {row.id: row for row in await self._results("WHERE id = ANY($1::text[])", ids)}
        return [found.get(id) for id in ids]

    async def _results(self, where: str, *arguments: object) -> list[ResultRow]:
        rows = await self._fetch(
            f"SELECT {_RESULT_COLUMNS} FROM asgard.results {where}",  # noqa: S608 - ours
            *arguments,
        )
        return [_result_row(row) for row in rows]

    async def _fetch(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        rows = await self._link.read(lambda connection: connection.fetch(sql, *arguments))
        return [tuple(row) for row in rows]

    # IndexUpkeep

    async def building(self) -> bool:
        """Say whether the index is new and does not yet know all documents."""
        return await self._link.read(postgres_upkeep.is_building)

    async def forget(self) -> None:
        """Throw away what was made from documents, for all replicas at once."""
        async with self._link.connection() as connection:
            await postgres_upkeep.forget(connection)

    async def rebuild(self, listings: Sequence[tuple[Kind, Iterable[Entry]]]) -> int:
        """Take in all documents listed, results before runs, without logging; count them.

        Then begin a new epoch. Replicas take turns: one that waited counts none.
        """
        async with self._link.connection() as connection:
            return await postgres_upkeep.rebuild(connection, self._read, self._now, listings)

    async def compare(
        self, kind: Kind, listing: Iterable[Entry], started_at: datetime
    ) -> list[Key]:
        """Name the documents about which a listing and the index disagree."""
        async with self._link.connection() as connection:
            return await postgres_upkeep.compare(
                connection, kind, listing, to_micros(started_at), self._now()
            )

    async def newest(self, kind: Kind) -> str | None:
        """The id that tells of the latest time until now, None when none tells one."""
        now = self._clock()
        return await self._link.read(
            lambda connection: postgres_upkeep.newest(connection, kind, now)
        )

    async def unknown(self, entries: Sequence[Entry]) -> list[Key]:
        """Those of `entries` whose stamp is not the one the index knows."""
        return await self._link.read(
            lambda connection: postgres_upkeep.unknown(connection, entries)
        )

    async def stale(self, keys: Sequence[Key]) -> list[Key]:
        """Those of `keys` whose document's stamp is not the one the index knows."""
        now = await asyncio.gather(*map(self._stamp, keys))
        known = await self._link.read(lambda connection: postgres_upkeep.stamps(connection, keys))
        return [key for key, stamp in zip(keys, now, strict=True) if stamp != known.get(key)]


async def _claim(connection: Connection, place: str, storage_id: str) -> None:
    """Make the index that of a storage; refuse if it is another's."""
    await connection.execute(
        "UPDATE asgard.run_log_head SET storage_id = $1 WHERE storage_id IS NULL", storage_id
    )
    owner = await connection.fetchval("SELECT storage_id FROM asgard.run_log_head")
    if owner != storage_id:
        raise StorageUnavailableError(
            place,
            f"it holds the index of the storage {owner}, and this one is {storage_id}: give each"
            " storage a database of its own",
        )


def _result_row(row: tuple[Any, ...]) -> ResultRow:
    result_id, run_id, result_type, *rest = row
    return result_row((result_id, run_id, result_type.decode("utf-8", "surrogatepass"), *rest))
