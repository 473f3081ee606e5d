"""What happens inside one transaction of the index in PostgreSQL: observing, then logging.

Locks are taken in one order by everybody: rows of run_locks by slot, then rows of
result_counts by run id, then the head of the log, which is held for nothing but its own
statement and COMMIT, sent together.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from gimle.asgard.core.documents import digest as digest_of
from gimle.asgard.core.errors import DocumentError

from asgard_server.run.store import Found, Key, Kind
from asgard_server.store.postgres_ledger import end_writes
from asgard_server.store.sqlite_rows import ResultValues, RunValues, result_values, run_values
from asgard_server.store.written import Note, Written, standing

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

SLOTS = 16_384
# Documents read at once, and how many bytes of them are parsed on the loop.
_READS = 32
_SMALL = 64 * 1024

TABLE: dict[Kind, str] = {"run": "asgard.runs", "result": "asgard.results"}
Read = Callable[[Key], Awaitable[Found | None]]

_KNOWN = """
SELECT 'run', id, id, digest, stamp, created_at, sorted_at FROM asgard.runs
 WHERE id = ANY($1::text[])
UNION ALL SELECT 'result', id, run_id, digest, stamp, created_at, sorted_at FROM asgard.results
 WHERE id = ANY($2::text[])
"""

_WRITE_RUNS = """
INSERT INTO asgard.runs
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
  $6::bytea[], $7::text[], $8::bytea[], $9::text[])
ON CONFLICT (id) DO UPDATE SET sorted_at = excluded.sorted_at, created_at = excluded.created_at,
  changed_at = excluded.changed_at, noticed_at = excluded.noticed_at, digest = excluded.digest,
  stamp = excluded.stamp, document = excluded.document, text = excluded.text
"""

_WRITE_RESULTS = """
INSERT INTO asgard.results
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
  $6::bigint[], $7::bytea[], $8::text[], $9::bytea[], $10::bytea[])
ON CONFLICT (id) DO UPDATE SET run_id = excluded.run_id, sorted_at = excluded.sorted_at,
  created_at = excluded.created_at, changed_at = excluded.changed_at,
  noticed_at = excluded.noticed_at, digest = excluded.digest, stamp = excluded.stamp,
  result_type = excluded.result_type, display = excluded.display
"""

_COUNT = """
INSERT INTO asgard.result_counts
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS more (run_id, results, changed_at)
 ORDER BY more.run_id COLLATE "C"
ON CONFLICT (run_id) DO UPDATE SET results = result_counts.results + excluded.results,
  changed_at = greatest(result_counts.changed_at, excluded.changed_at)
"""

_NOT_UNREADABLE = """
DELETE FROM asgard.unreadable u USING unnest($1::text[], $2::text[]) AS k (kind, id)
 WHERE u.kind = k.kind AND u.id = k.id
"""

_NOT_GONE = """
DELETE FROM asgard.tombstones t USING unnest($1::text[], $2::text[]) AS k (kind, id)
 WHERE t.kind = k.kind AND t.id = k.id
"""

# The entries wait in a setting of this transaction, so that this statement needs no arguments
# and can be sent together with COMMIT.
_LOG_AND_COMMIT = """
WITH entries AS MATERIALIZED (
  SELECT value, ordinality
    FROM json_array_elements(current_setting('asgard.entries')::json) WITH ORDINALITY
), moved AS (
  UPDATE asgard.run_log_head SET revision = revision + (SELECT count(*) FROM entries),
    runs = runs + current_setting('asgard.more_runs')::bigint
  RETURNING revision - (SELECT count(*) FROM entries) AS before
)
INSERT INTO asgard.run_log
SELECT before + ordinality, value->>0, value->>1, value->>2, (value->>3)::boolean,
  current_setting('asgard.now')::bigint
  FROM moved, entries;
COMMIT
"""

log = structlog.get_logger()


class _Row(NamedTuple):
    run_id: str
    digest: bytes
    stamp: str
    created_at: int
    sorted_at: int


class Outcome(NamedTuple):
    """The head revision after a commit, and what kept documents from being observed."""

    head: int
    failed: dict[Key, Exception]


class Transaction:
    """One transaction that makes rows and log agree with documents.

    `now` is in microseconds. `logged` False is for filling a new index: rows are made of
    documents that have none yet, and nobody is told.
    """

    def __init__(
        self,
        connection: Connection,
        read: Read,
        now: int,
        *,
        logged: bool,
        written: Written | None = None,
    ) -> None:
        self._connection = connection
        self._read = read
        self._written = written
        self.settling: list[Note] = []
        self._now = now
        self._logged = logged
        self._entries: list[tuple[Kind, str, str, bool]] = []
        self._more_runs = 0
        self._counts: dict[str, tuple[int, int]] = {}
        self.failed: dict[Key, Exception] = {}

    async def write(self, keys: Sequence[Key]) -> list[Key]:
        """Everything but the log, under the locks of `keys`.

        Answer the keys of results that must be locked too, since their run is gone, or none:
        if there are any, nothing was written, and it is to be begun again with them.
        """
        slots = sorted({slot_of(key) for key in keys})
        await self._connection.execute(
            "SELECT FROM asgard.run_locks WHERE slot = ANY($1::int[]) ORDER BY slot FOR UPDATE",
            slots,
        )
        known = await self._known(keys)
        wanted = keys if self._logged else [key for key in keys if key not in known]
        notes = self._written.of(wanted) if self._written else {}
        found: dict[Key, Found | None] = {}
        for key, some in notes.items():
            # Written in the place of what the row tells of: nobody was between, nothing to read.
            known_now = standing(some, known[key].stamp if key in known else None)
            if known_now is not None:
                found[key] = known_now
        found |= await self._read_all([key for key in wanted if key not in found])
        found = {key: found[key] for key in wanted if key in found}
        gone = [key for key in found if found[key] is None and key in known]
        runs = [key.id for key in gone if key.kind == "run"]
        if runs:
            members = await self._connection.fetch(
                "SELECT id FROM asgard.results WHERE run_id = ANY($1::text[])", runs
            )
            held = set(keys)
            more = [key for row in members if (key := Key("result", row[0])) not in held]
            if more:
                return more
        await self._write_found({k: f for k, f in found.items() if f is not None}, known)
        await self._remove(gone, known)
        await self._forget_unreadable([key for key in found if found[key] is None])
        await self._count()
        self.settling = [one for key, some in notes.items() if key in found for one in some]
        if self.settling:
            there = {key for key, one in found.items() if one is not None}
            await end_writes(self._connection, self.settling, there)
        return []

    async def commit(self) -> None:
        """Number and write the log entries, last of all, and commit."""
        if not self._entries and not self._more_runs:
            await self._connection.execute("COMMIT")
            return
        await self._connection.execute(
            "SELECT set_config('asgard.entries', $1, true),"
            " set_config('asgard.more_runs', $2, true), set_config('asgard.now', $3, true)",
            *(json.dumps(self._entries), str(self._more_runs), str(self._now)),
        )
        await self._connection.execute(_LOG_AND_COMMIT)

    async def _known(self, keys: Sequence[Key]) -> dict[Key, _Row]:
        rows = await self._connection.fetch(_KNOWN, _ids(keys, "run"), _ids(keys, "result"))
        return {Key(row[0], row[1]): _Row(*tuple(row)[2:]) for row in rows}

    async def _read_all(self, keys: Sequence[Key]) -> dict[Key, Found | None]:
        """Documents as they now are, in the order of `keys`; those that cannot be read `failed`."""
        found: dict[Key, Found | None] = {}
        for start in range(0, len(keys), _READS):
            some = keys[start : start + _READS]
            answers = await asyncio.gather(*map(self._read, some), return_exceptions=True)
            for key, answer in zip(some, answers, strict=True):
                if isinstance(answer, Exception):
                    self.failed[key] = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    found[key] = answer
        return found

    async def _write_found(self, found: dict[Key, Found], known: dict[Key, _Row]) -> None:
        same = [k for k, f in found.items() if k in known and known[k].digest == digest_of(f.body)]
        new = {key: one for key, one in found.items() if key not in set(same)}
        await self._restamp([(k, found[k]) for k in same if known[k].stamp != found[k].stamp])
        if sum(len(one.body) for one in new.values()) > _SMALL:
            values = await asyncio.to_thread(_values, new, self._now)
        else:
            values = _values(new, self._now)
        runs: list[RunValues] = []
        results: list[ResultValues] = []
        broken: list[tuple[Key, str]] = []
        for key, value in values.items():
            old = known.get(key)
            if isinstance(value, DocumentError):
                # Whatever the row says stays true of the last document that could be read.
                log.warning("unreadable document", kind=key.kind, id=key.id, problem=str(value))
                broken.append((key, new[key].stamp))
                continue
            if old is not None and value.created_at == old.created_at:
                # A time of arrival stays what it was when the document is edited.
                value = value._replace(sorted_at=old.sorted_at)
            if isinstance(value, RunValues):
                runs.append(value)
                self._more_runs += old is None
                self._entry(key, value.id, gone=False)
            else:
                results.append(value)
                if old is not None:
                    self._add_count(old.run_id, -1, 0)
                self._add_count(value.run_id, 1, value.modified_at)
                self._entry(key, value.run_id, gone=False)
        await self._insert(runs, results)
        written = [key for key in values if not isinstance(values[key], DocumentError)]
        if written:
            await self._connection.execute(_NOT_GONE, *_pairs(written))
        await self._forget_unreadable([*same, *written])
        if broken:
            await self._connection.executemany(
                "INSERT INTO asgard.unreadable VALUES ($1, $2, $3)"
                " ON CONFLICT (kind, id) DO UPDATE SET stamp = excluded.stamp",
                [(*key, stamp) for key, stamp in broken],
            )

    async def _insert(self, runs: list[RunValues], results: list[ResultValues]) -> None:
        if runs:
            rows: Iterable[tuple[Any, ...]] = [
                (
                    *(one.id, one.sorted_at, one.created_at, one.modified_at, self._now),
                    *(one.digest, one.stamp, one.document, one.text),
                )
                for one in runs
            ]
            await self._connection.execute(_WRITE_RUNS, *map(list, zip(*rows, strict=True)))
        if results:
            rows = [
                (
                    *(one.id, one.run_id, one.sorted_at, one.created_at, one.modified_at),
                    *(self._now, one.digest, one.stamp),
                    *(one.result_type.encode("utf-8", "surrogatepass"), one.display),
                )
                for one in results
            ]
            await self._connection.execute(_WRITE_RESULTS, *map(list, zip(*rows, strict=True)))

    async def _restamp(self, stamps: list[tuple[Key, Found]]) -> None:
        for kind, table in TABLE.items():
            some = [(key.id, found.stamp) for key, found in stamps if key.kind == kind]
            if some:
                await self._connection.execute(
                    f"UPDATE {table} d SET stamp = k.stamp"  # noqa: S608 - our tables
                    " FROM unnest($1::text[], $2::text[]) AS k (id, stamp) WHERE d.id = k.id",
                    *map(list, zip(*some, strict=True)),
                )

    async def _remove(self, gone: list[Key], known: dict[Key, _Row]) -> None:
        if not gone:
            return
        for key in gone:
            self._entry(key, known[key].run_id, gone=True)
            if key.kind == "run":
                self._more_runs -= 1
                self._add_count(key.id, 0, 0)
            else:
                self._add_count(known[key].run_id, -1, 0)
        for kind, table in TABLE.items():
            ids = _ids(gone, kind)
            if ids:
                await self._connection.execute(
                    f"DELETE FROM {table} WHERE id = ANY($1::text[])",  # noqa: S608 - our tables
                    ids,
                )
        await self._connection.execute(
            "INSERT INTO asgard.tombstones SELECT kind, id, $3"
            " FROM unnest($1::text[], $2::text[]) AS k (kind, id)"
            " ON CONFLICT (kind, id) DO UPDATE SET at = excluded.at",
            *(*_pairs(gone), self._now),
        )

    async def _forget_unreadable(self, keys: Sequence[Key]) -> None:
        if keys:
            await self._connection.execute(_NOT_UNREADABLE, *_pairs(keys))

    def _add_count(self, run_id: str, more: int, changed_at: int) -> None:
        before, changed = self._counts.get(run_id, (0, 0))
        self._counts[run_id] = (before + more, max(changed, changed_at))

    async def _count(self) -> None:
        if self._counts:
            ids = list(self._counts)
            more, changed = zip(*self._counts.values(), strict=True)
            await self._connection.execute(_COUNT, ids, list(more), list(changed))
            if self._more_runs < 0 or any(number < 0 for number in more):
                # The rows are held by the statement before, so this waits for nobody.
                await self._connection.execute(
                    "DELETE FROM asgard.result_counts WHERE run_id = ANY($1::text[])"
                    " AND results = 0 AND run_id NOT IN"
                    " (SELECT id FROM asgard.runs WHERE id = ANY($1::text[]))",
                    ids,
                )

    def _entry(self, key: Key, run_id: str, *, gone: bool) -> None:
        if self._logged:
            self._entries.append((key.kind, key.id, run_id, gone))


async def observe(
    connection: Connection,
    read: Read,
    now: int,
    keys: Sequence[Key],
    *,
    logged: bool = True,
    written: Written | None = None,
    digests: Sequence[tuple[Key, bytes]] = (),
) -> Outcome:
    """Make rows and log agree with the documents of `keys`, in one transaction.

    `written`: what this process knows to have written itself. `digests` of requests are kept
    by the same transaction. Raises asyncpg's errors; nothing is written then, unless the
    connection broke while it was being committed: doing it again is safe.
    """
    held = list(dict.fromkeys(keys))
    while True:
        transaction = Transaction(connection, read, now, logged=logged, written=written)
        await connection.execute("BEGIN")
        try:
            more = await transaction.write(held) if held else []
            if digests and not more:
                await _remember(connection, digests, now)
            if not more:
                await transaction.commit()
                break
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("ROLLBACK")
        held += more
    if written is not None:
        written.settled(transaction.settling)
    head = await connection.fetchval("SELECT revision FROM asgard.run_log_head")
    return Outcome(head, transaction.failed)


async def _remember(connection: Connection, digests: Sequence[tuple[Key, bytes]], now: int) -> None:
    latest = dict(digests)
    await connection.execute(
        "INSERT INTO asgard.requests SELECT kind, id, digest, $4"
        " FROM unnest($1::text[], $2::text[], $3::bytea[]) AS r (kind, id, digest)"
        " ON CONFLICT (kind, id) DO UPDATE SET digest = excluded.digest, at = excluded.at",
        *(*_pairs(latest), list(latest.values()), now),
    )


def slot_of(key: Key) -> int:
    """The row of run_locks that stands for a document."""
    return zlib.crc32(f"{key.kind}/{key.id}".encode("utf-8", "surrogatepass")) % SLOTS


def _values(
    found: dict[Key, Found], now: int
) -> dict[Key, RunValues | ResultValues | DocumentError]:
    """What rows hold of documents. SQLite cuts large ones to size, without the GIL."""
    values: dict[Key, RunValues | ResultValues | DocumentError] = {}
    cutter = sqlite3.connect(":memory:")
    try:
        for key, one in found.items():
            make = run_values if key.kind == "run" else result_values
            try:
                value = make(cutter, key.id, one, now)
                if isinstance(value, ResultValues) and "\0" in value.run_id:
                    raise DocumentError(key.id, "its run_id holds a zero character")
                values[key] = value
            except DocumentError as error:
                values[key] = error
    finally:
        cutter.close()
    return values


def _ids(keys: Iterable[Key], kind: Kind) -> list[str]:
    return [key.id for key in keys if key.kind == kind]


def _pairs(keys: Iterable[Key]) -> tuple[list[str], list[str]]:
    kinds, ids = zip(*keys, strict=True)
    return list(kinds), list(ids)
