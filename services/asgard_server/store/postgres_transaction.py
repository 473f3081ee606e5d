"""What happens inside one transaction of the index in PostgreSQL: observing, then logging.

Locks are taken in one order by everybody: rows of run_locks by slot, then rows of
result_counts by run id, then the head of the log, which is held for nothing but its own
statement and COMMIT, sent together.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import structlog
from gimle.asgard.core.documents import digest as digest_of
from gimle.asgard.core.errors import DocumentError

from asgard_server.run.store import Found, Key, Kind, ResultRow
from asgard_server.store import postgres_readers
from asgard_server.store.postgres_changes import Changes
from asgard_server.store.rows import ResultValues, RunValues, result_values, run_values
from asgard_server.store.written import Note, Written, standing

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

SLOTS = 16_384
# Documents read at once, and how many bytes of them are parsed on the loop.
_READS = 32
SMALL = 64 * 1024

TABLE: dict[Kind, str] = {"run": "asgard.runs", "result": "asgard.results"}
Read = Callable[[Key], Awaitable[Found | None]]

_KNOWN = """
SELECT 'run', id, id, digest, stamp, created_at, sorted_at, readers FROM asgard.runs
 WHERE id = ANY($1::text[])
UNION ALL SELECT 'result', id, run_id, digest, stamp, created_at, sorted_at, NULL
 FROM asgard.results
 WHERE id = ANY($2::text[])
"""

log = structlog.get_logger()
_of_thread = threading.local()


class _Row(NamedTuple):
    run_id: str
    digest: bytes
    stamp: str
    created_at: int
    sorted_at: int
    readers: Sequence[str] | None


class Outcome(NamedTuple):
    """The head revision after a commit, and what kept documents from being observed.

    `made`: rows of new results, as far as they are known without a look.
    """

    head: int
    failed: Mapping[Key, Exception]
    made: Mapping[Key, ResultRow] = MappingProxyType({})


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
        self._logged = logged
        self.changes = Changes(now)
        self.settling: list[Note] = []
        self.failed: dict[Key, Exception] = {}

    async def collect(self, keys: Sequence[Key]) -> list[Key]:
        """Find out, under the locks of `keys`, what is to be written.

        Answer the keys of results that must be locked too, since their run is gone, or none:
        if there are any, it is to be begun again with them.
        """
        known = await self._known(keys)
        wanted = keys if self._logged else [key for key in keys if key not in known]
        notes = self._written.of(wanted) if self._written else {}
        found = await self._found(wanted, notes, known)
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
        there = {key: one for key, one in found.items() if one is not None}
        await self._take(there, known)
        await self._remove(gone, known)
        self.changes.readable += [key for key in found if found[key] is None]
        self.settling = [one for key, some in notes.items() if key in found for one in some]
        self.changes.end(self.settling, set(there))
        return []

    async def _known(self, keys: Sequence[Key]) -> dict[Key, _Row]:
        rows = await self._connection.fetch(_KNOWN, _ids(keys, "run"), _ids(keys, "result"))
        return {Key(row[0], row[1]): _Row(*tuple(row)[2:]) for row in rows}

    async def _found(
        self, keys: Sequence[Key], notes: dict[Key, list[Note]], known: dict[Key, _Row]
    ) -> dict[Key, Found | None]:
        """Documents as they now are, in the order of `keys`; those that cannot be read `failed`."""
        found: dict[Key, Found | None] = {}
        for key, some in notes.items():
            # Written in the place of what the row tells of: nobody was between, nothing to read.
            own = standing(some, known[key].stamp if key in known else None)
            if own is not None:
                found[key] = own
        asked = [key for key in keys if key not in found]
        for start in range(0, len(asked), _READS):
            part = asked[start : start + _READS]
            answers = await asyncio.gather(*map(self._read, part), return_exceptions=True)
            for key, answer in zip(part, answers, strict=True):
                if isinstance(answer, Exception):
                    self.failed[key] = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    found[key] = answer
        return {key: found[key] for key in keys if key in found}

    async def _take(self, found: dict[Key, Found], known: dict[Key, _Row]) -> None:
        """Take in documents that are there."""
        same = [
            k
            for k, f in found.items()
            if k in known
            and known[k].digest == digest_of(f.body)
            and not (k.kind == "run" and postgres_readers.is_untold(known[k].readers, f.body))
        ]
        new = {key: one for key, one in found.items() if key not in set(same)}
        await self._restamp([(k, found[k]) for k in same if known[k].stamp != found[k].stamp])
        if sum(len(one.body) for one in new.values()) > SMALL:
            values = await asyncio.to_thread(values_of, new, self.changes.now)
        else:
            values = values_of(new, self.changes.now)
        self.changes.readable += same
        broken: list[tuple[Key, str]] = []
        for key, value in values.items():
            if isinstance(value, DocumentError):
                # Whatever the row says stays true of the last document that could be read.
                log.warning("unreadable document", kind=key.kind, id=key.id, problem=str(value))
                broken.append((key, new[key].stamp))
            else:
                self._take_values(key, value, known.get(key))
        if broken:
            await self._connection.executemany(
                "INSERT INTO asgard.unreadable VALUES ($1, $2, $3)"
                " ON CONFLICT (kind, id) DO UPDATE SET stamp = excluded.stamp",
                [(*key, stamp) for key, stamp in broken],
            )

    def _take_values(self, key: Key, value: RunValues | ResultValues, old: _Row | None) -> None:
        if old is not None and value.created_at == old.created_at:
            # A time of arrival stays what it was when the document is edited.
            value = value._replace(sorted_at=old.sorted_at)
        changes = self.changes
        changes.alive.append(key)
        changes.readable.append(key)
        if isinstance(value, RunValues):
            value = postgres_readers.told(value)
            before = None if old is None else old.readers
            changes.take_run(value, before, 0 if old is None else old.sorted_at)
            changes.more_runs += old is None
            if old is None and value.readers is not None:
                before = ()
            self._entry(key, value.id, gone=False, readers=(before, value.readers))
        else:
            changes.results.append(value)
            if old is not None:
                changes.count(old.run_id, -1, 0)
            changes.count(value.run_id, 1, value.modified_at)
            self._entry(key, value.run_id, gone=False)

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
        readers = await self._readers([known[key].run_id for key in gone])
        for key in gone:
            before = readers.get(known[key].run_id, ())
            after = None if before is None else ()
            self._entry(key, known[key].run_id, gone=True, readers=(before, after))
            if key.kind == "run":
                self.changes.unread.update(
                    (each, known[key].sorted_at, key.id) for each in known[key].readers or ()
                )
                self.changes.more_runs -= 1
                self.changes.count(key.id, 0, 0)
            else:
                self.changes.count(known[key].run_id, -1, 0)
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
            *([key.kind for key in gone], [key.id for key in gone], self.changes.now),
        )

    async def _readers(self, run_ids: Sequence[str]) -> dict[str, Sequence[str] | None]:
        """Who may read these runs; those that are not there are left out."""
        rows = await self._connection.fetch(
            "SELECT id, readers FROM asgard.runs WHERE id = ANY($1::text[])", run_ids
        )
        return {row[0]: row[1] for row in rows}

    def _entry(
        self,
        key: Key,
        run_id: str,
        *,
        gone: bool,
        readers: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
    ) -> None:
        if not self._logged:
            return
        if readers == (None, None):
            self.changes.entries.append((key.kind, key.id, run_id, gone))
        else:
            self.changes.entries.append((key.kind, key.id, run_id, gone, *readers))


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
        try:
            await connection.execute(_begin(held))
            more = await transaction.collect(held) if held else []
            if not more:
                transaction.changes.digests.update(digests)
                await transaction.changes.write(connection)
                await transaction.changes.commit(connection)
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


def _begin(keys: Sequence[Key]) -> str:
    """What begins a transaction that holds the locks of `keys`: numbers, sent in one go."""
    if not keys:
        return "BEGIN"
    slots = ",".join(map(str, sorted({slot_of(key) for key in keys})))
    return f"BEGIN; SELECT FROM asgard.run_locks WHERE slot IN ({slots}) ORDER BY slot FOR UPDATE"


def slot_of(key: Key) -> int:
    """The row of run_locks that stands for a document."""
    return zlib.crc32(f"{key.kind}/{key.id}".encode("utf-8", "surrogatepass")) % SLOTS


def values_of(
    found: dict[Key, Found], now: int
) -> dict[Key, RunValues | ResultValues | DocumentError]:
    """What rows hold of documents. SQLite cuts large ones to size, without the GIL."""
    values: dict[Key, RunValues | ResultValues | DocumentError] = {}
    for key, one in found.items():
        make = run_values if key.kind == "run" else result_values
        try:
            value = make(_cutter(), key.id, one, now)
            if isinstance(value, ResultValues) and "\0" in value.run_id:
                raise DocumentError(key.id, "its run_id holds a zero character")
            values[key] = value
        except DocumentError as error:
            values[key] = error
    return values


def _cutter() -> sqlite3.Connection:
    """This thread's SQLite, which holds nothing."""
    cutter: sqlite3.Connection | None = getattr(_of_thread, "cutter", None)
    if cutter is None:
        cutter = _of_thread.cutter = sqlite3.connect(":memory:")
    return cutter


def _ids(keys: Iterable[Key], kind: Kind) -> list[str]:
    return [key.id for key in keys if key.kind == kind]
