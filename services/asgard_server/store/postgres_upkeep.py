"""Taking in a whole place at once, and comparing a listing with what PostgreSQL knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from gimle.asgard.core.ids import new_id

from asgard_server.run.store import Entry, Key, Kind
from asgard_server.store import postgres_transaction
from asgard_server.store.postgres_transaction import TABLE, Read

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

V7 = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
# Documents taken in by one transaction of a rebuild, which holds their locks so long.
BATCH = 500
_LISTED = 5_000
# The lock of whoever fills the index; any number that nobody else of us uses.
REBUILD_LOCK = 0x41736761_72640002


@asynccontextmanager
async def _seen(connection: Connection, listing: Iterable[Entry]) -> AsyncIterator[None]:
    """The listing as a table `seen`, read in a thread as it is consumed."""
    await connection.execute(
        'CREATE TEMP TABLE seen (id text COLLATE "C" NOT NULL, stamp text COLLATE "C" NOT NULL)'
    )
    try:
        entries = iter(listing)
        while batch := await asyncio.to_thread(_take, entries):
            await connection.copy_records_to_table("seen", records=batch)
        await connection.execute("CREATE INDEX ON seen (id)")
        await connection.execute("ANALYZE seen")
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("DROP TABLE seen")


def _take(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    return [(entry.key.id, entry.stamp) for entry in islice(entries, _LISTED)]


async def forget(connection: Connection) -> None:
    """Throw away what documents say anew, and begin a new epoch of an index to be built.

    What was deleted, and which request made what, no document says: that is kept.
    """
    async with connection.transaction():
        await connection.execute(
            "TRUNCATE asgard.runs, asgard.run_readers, asgard.results, asgard.result_counts,"
            " asgard.unreadable, asgard.run_log"
        )
        await connection.execute(
            "UPDATE asgard.run_log_head SET state = 'building', runs = 0,"
            " epoch = replace(gen_random_uuid()::text, '-', '')"
        )


async def rebuild(
    connection: Connection,
    read: Read,
    now: Callable[[], int],
    listings: Sequence[tuple[Kind, Iterable[Entry]]],
) -> int:
    """Take in all documents listed, then begin a new epoch; count them.

    One at a time: who waited for another finds it done, and counts none.
    """
    # Waited for in steps: the lock_timeout of a connection holds for this lock, too.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", REBUILD_LOCK):
        await asyncio.sleep(0.5)
        if not await is_building(connection):
            return 0
    try:
        epoch = await _epoch(connection)
        taken = 0
        for kind, listing in listings:
            async with _seen(connection, listing):
                behind = ""
                while keys := await _page(connection, kind, behind):
                    # Watchers of another epoch would never hear of a row that is not logged.
                    logged = await _epoch(connection) != epoch
                    outcome = await postgres_transaction.observe(
                        connection, read, now(), keys, logged=logged
                    )
                    for error in outcome.failed.values():
                        raise error
                    taken += len(keys)
                    behind = keys[-1].id
        await connection.execute(
            "UPDATE asgard.run_log_head SET state = 'whole',"
            " epoch = replace(gen_random_uuid()::text, '-', '') WHERE epoch = $1",
            epoch,
        )
        return taken
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", REBUILD_LOCK)


async def is_building(connection: Connection) -> bool:
    """Whether the index does not yet know all documents."""
    state = await connection.fetchval("SELECT state FROM asgard.run_log_head")
    return bool(state == "building")


async def _epoch(connection: Connection) -> str:
    return str(await connection.fetchval("SELECT epoch FROM asgard.run_log_head"))


async def _page(connection: Connection, kind: Kind, behind: str) -> list[Key]:
    rows = await connection.fetch(
        "SELECT DISTINCT id FROM seen WHERE id > $1 ORDER BY id LIMIT $2", behind, BATCH
    )
    return [Key(kind, row[0]) for row in rows]


async def compare(
    connection: Connection, kind: Kind, listing: Iterable[Entry], started: int, now: int
) -> list[Key]:
    """Documents that are new, changed, or missing from a listing begun at `started`.

    A row noticed later than `now` is one from before the clock went back: it is old.
    """
    table = TABLE[kind]
    async with _seen(connection, listing):
        rows = await connection.fetch(
            f"SELECT s.id FROM seen s LEFT JOIN {table} d ON d.id = s.id"  # noqa: S608 - ours
            " WHERE d.stamp IS DISTINCT FROM s.stamp AND NOT EXISTS (SELECT FROM asgard.unreadable"
            "  u WHERE u.kind = $1 AND u.id = s.id AND u.stamp = s.stamp)"
            f" UNION SELECT d.id FROM {table} d WHERE (d.noticed_at < $2"
            "   OR d.noticed_at > $3)"
            "  AND NOT EXISTS (SELECT FROM seen s WHERE s.id = d.id)"
            " UNION SELECT u.id FROM asgard.unreadable u WHERE u.kind = $1"
            "  AND NOT EXISTS (SELECT FROM seen s WHERE s.id = u.id)",
            *(kind, started, now),
        )
    return [Key(kind, row[0]) for row in rows]


async def stamps(connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    """The stamps that rows carry, of those that there are."""
    rows = await connection.fetch(
        "SELECT 'run', id, stamp FROM asgard.runs WHERE id = ANY($1::text[])"
        " UNION ALL SELECT 'result', id, stamp FROM asgard.results WHERE id = ANY($2::text[])",
        [key.id for key in keys if key.kind == "run"],
        [key.id for key in keys if key.kind == "result"],
    )
    return {Key(row[0], row[1]): row[2] for row in rows}


async def unknown(connection: Connection, entries: Sequence[Entry]) -> list[Key]:
    """Those listed that are new or changed; unreadable ones only if they have changed, too."""
    found: list[Key] = []
    for start in range(0, len(entries), _LISTED):
        some = entries[start : start + _LISTED]
        known = await stamps(connection, [entry.key for entry in some])
        rows = await connection.fetch(
            "SELECT u.kind, u.id, u.stamp FROM asgard.unreadable u"
            " JOIN unnest($1::text[], $2::text[]) AS k (kind, id)"
            " ON u.kind = k.kind AND u.id = k.id",
            [entry.key.kind for entry in some],
            [entry.key.id for entry in some],
        )
        broken = {(Key(row[0], row[1]), row[2]) for row in rows}
        found += [
            entry.key
            for entry in some
            if known.get(entry.key) != entry.stamp and (entry.key, entry.stamp) not in broken
        ]
    return found


async def newest(connection: Connection, kind: Kind, now: datetime) -> str | None:
    """The greatest id that tells a time until `now`."""
    ids = await connection.fetch(
        f"SELECT id FROM {TABLE[kind]} WHERE id < $1 AND id ~ $2"  # noqa: S608 - our tables
        " ORDER BY id DESC LIMIT 1",
        *(new_id(now), V7),
    )
    return ids[0][0] if ids else None
