"""What replicas have begun, in PostgreSQL: the port `Ledger`, and how the index ends a write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import asyncpg

from asgard_server.run.ledger import Deletion, Write, stray_token
from asgard_server.run.store import Key
from asgard_server.store import migrate
from asgard_server.store.postgres_link import LOST, Link
from asgard_server.store.postgres_rounds import Rounds

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

# A deletion is remembered for longer than a replica believes that a run is there.
_DONE_KEPT = "1 hour"

# A stray is a row that is neither to be observed nor to be listed.
_STRAY = """
INSERT INTO asgard.writes (token, kind, id, run_id, replica, at, files, lists, observed)
SELECT w.token, w.kind, w.id, w.run_id, $1, clock_timestamp(), '{}', false, true
  FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) AS w (token, kind, id, run_id)
ON CONFLICT (token) DO UPDATE SET at = excluded.at
"""
_COLUMNS = "replace(token::text, '-', ''), kind, id, run_id, files, lists"
_MARK = """
INSERT INTO asgard.deletions VALUES ($1, $2, $3, $4, $5, clock_timestamp(), false)
ON CONFLICT (kind, id) DO UPDATE SET results = excluded.results, files = excluded.files,
  at = excluded.at, done = false
"""


class PostgresLedger:
    """The ledger of one storage, shared by all replicas. Times are the database's.

    Methods raise `StorageUnavailableError` when the database is not there.
    """

    def __init__(self, link: Link, replica: str) -> None:
        self._link = link
        self._replica = replica
        #: For the index of the same database, whose results are taken in while writes are begun.
        self.rounds = Rounds(link, replica)
        self._held: set[str] = set()
        self._locks: Connection | None = None
        self._lock_turn = asyncio.Lock()

    @classmethod
    async def open(cls, dsn: str, *, replica: str, connections: int = 4) -> PostgresLedger:
        """Open the ledger in the database at `dsn`; `replica` says in it who has begun what.

        Raises `StorageUnavailableError` when the database does not answer, `SchemaError` when
        its schema is not one that this release can use.
        """
        link = await Link.open(dsn, connections, planned_once=True)
        try:
            async with link.connection() as connection:
                await migrate.check(connection, link.place)
        except BaseException:
            await link.close()
            raise
        return cls(link, replica)

    async def close(self) -> None:
        """Finish what is being begun, let go of all locks and close all connections."""
        await self.rounds.finish()
        async with self._lock_turn:
            if self._locks is not None:
                with suppress(*LOST):
                    await self._locks.close()
                self._locks = None
        await self._link.close()

    # Writes

    async def begin(self, writes: Sequence[Write]) -> frozenset[Key]:
        """Write down writes; answer which documents and runs of theirs are being deleted."""
        return await self.rounds.begin(writes)

    async def alive(self, tokens: Sequence[str]) -> None:
        """Say that writes still go on, those that nobody has ended."""
        await self._execute(
            "UPDATE asgard.writes SET at = clock_timestamp()"
            " WHERE token = ANY($1::uuid[]) AND NOT observed",
            tokens,
        )

    async def end(self, tokens: Sequence[str]) -> None:
        """Forget writes."""
        if tokens:
            await self._execute("DELETE FROM asgard.writes WHERE token = ANY($1::uuid[])", tokens)

    async def begun(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Writes that nobody has observed and nobody has begun again for so long."""
        return await self._writes("NOT observed", older_than_s, run_id)

    async def unlisted(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Observed writes of results that their runs' documents do not name."""
        return await self._writes("observed AND lists", older_than_s, run_id)

    async def stray(self, writes: Sequence[Write]) -> None:
        """Write down that requests of these writes may still arrive."""
        if writes:
            some = {stray_token(write.key): write for write in writes}
            await self._execute(
                _STRAY,
                self._replica,
                list(some),
                [write.key.kind for write in some.values()],
                [write.key.id for write in some.values()],
                [write.run_id for write in some.values()],
            )

    async def strays(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Writes that may still arrive, written down so long ago."""
        return await self._writes("observed AND NOT lists", older_than_s, run_id)

    async def _writes(self, which: str, older_than_s: float, run_id: str | None) -> list[Write]:
        of_run = "" if run_id is None else "AND run_id = $2"
        rows = await self._fetch(
            f"SELECT {_COLUMNS} FROM asgard.writes WHERE {which}"  # noqa: S608 - ours
            f" AND at <= clock_timestamp() - make_interval(secs => $1) {of_run}"
            " ORDER BY at LIMIT 10000",
            *((older_than_s,) if run_id is None else (older_than_s, run_id)),
        )
        return [
            Write(token, Key(kind, id), run, tuple(file for file in files if file), lists)
            for token, kind, id, run, files, lists in rows
        ]

    # Deletions

    async def mark(self, deletion: Deletion) -> None:
        """Write down a deletion, or more of one."""
        await self._execute(
            _MARK,
            *deletion.key,
            deletion.run_id,
            list(deletion.results),
            list(deletion.files),
        )

    async def marked(self, older_than_s: float, key: Key | None = None) -> list[Deletion]:
        """Deletions that are not done, and that nobody has marked for so long."""
        of_key = "" if key is None else "AND kind = $2 AND id = $3"
        rows = await self._fetch(
            "SELECT kind, id, run_id, results, files FROM asgard.deletions WHERE NOT done"  # noqa: S608 - ours
            f" AND at <= clock_timestamp() - make_interval(secs => $1) {of_key} LIMIT 1000",
            *((older_than_s,) if key is None else (older_than_s, *key)),
        )
        return [
            Deletion(Key(kind, id), run, tuple(results), tuple(files))
            for kind, id, run, results, files in rows
        ]

    async def unmark(self, key: Key, *, free: bool = False) -> None:
        """Say that a deletion is done. `free`: its id may be taken again."""
        # One statement: an id that is done and not yet free would stay so if we died here.
        done = (
            "DELETE FROM asgard.deletions"
            if free
            else "UPDATE asgard.deletions SET done = true, at = clock_timestamp()"
        )
        await self._execute(f"{done} WHERE kind = $1 AND id = $2", *key)
        await self._execute(
            "DELETE FROM asgard.deletions WHERE done"  # noqa: S608 - ours
            f" AND at < clock_timestamp() - interval '{_DONE_KEPT}'"
        )

    # Locks

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[bool]:
        """Hold the lock `name` inside, if nobody does; say whether it is held.

        A lock goes with its connection: where that breaks, another may hold it, too.
        """
        if name in self._held:  # by another task; PostgreSQL would give it to us again
            yield False
            return
        self._held.add(name)
        try:
            ours = await self._ask_lock("SELECT pg_try_advisory_lock($1)", name)
            try:
                yield ours
            finally:
                if ours:
                    with suppress(OSError, *LOST):
                        await self._ask_lock("SELECT pg_advisory_unlock($1)", name)
        finally:
            self._held.discard(name)

    async def _ask_lock(self, sql: str, name: str) -> bool:
        number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
        async with self._lock_turn:
            with self._link.errors():
                if self._locks is None or self._locks.is_closed():
                    self._locks = await self._link.connect()
                return bool(await self._locks.fetchval(sql, number))

    async def _fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._link.read(lambda connection: connection.fetch(sql, *arguments))

    async def _execute(self, sql: str, *arguments: object) -> None:
        await self._link.read(lambda connection: connection.execute(sql, *arguments))
