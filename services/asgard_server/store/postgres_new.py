"""New results that this process has written itself: observed by one statement, and committed.

They need not be looked up before: what must not be there yet is inserted only if it is not,
under the same locks that everybody takes. Those that are there are left to a transaction.
The same statement begins other writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from asgard_server.run.ledger import Write
from asgard_server.run.store import Key, ResultRow
from asgard_server.store.postgres_changes import renumbered
from asgard_server.store.postgres_transaction import SMALL, slot_of, values_of
from asgard_server.store.rows import ResultValues, result_row
from asgard_server.store.written import Note, Written, standing

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

_BEGIN = """
SELECT gone_kind, gone_id FROM asgard.begin_writes($1::text, $2::uuid[], $3::text[], $4::text[],
  $5::text[], $6::text[], $7::boolean[])
"""
# Each part waits for what it reads, so the order of locks is that of transactions: what begins
# writes, slots, counts by run, and the head of the log when all else is written, for nothing but
# the end of the statement, which is its own transaction.
_OBSERVE = """
WITH {begun} locked AS MATERIALIZED (
  SELECT FROM asgard.run_locks WHERE slot = ANY($1::integer[]) {after} ORDER BY slot FOR UPDATE
), given AS MATERIALIZED (
  SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
    $7::bigint[], $8::bytea[], $9::text[], $10::bytea[], $11::bytea[])
    AS g (token, id, run_id, sorted_at, created_at, changed_at, digest, stamp, type, display)
), made AS (
  INSERT INTO asgard.results
  SELECT id, run_id, sorted_at, created_at, changed_at, $12::bigint, digest, stamp, type, display
    FROM given WHERE (SELECT count(*) FROM locked) > 0
  ON CONFLICT (id) DO NOTHING
  RETURNING id, run_id, changed_at
), counted AS (
  INSERT INTO asgard.result_counts
  SELECT run_id, count(*), max(changed_at) FROM made GROUP BY run_id ORDER BY run_id COLLATE "C"
  ON CONFLICT (run_id) DO UPDATE SET results = result_counts.results + excluded.results,
    changed_at = greatest(result_counts.changed_at, excluded.changed_at)
  RETURNING 1
), alive AS (
  DELETE FROM asgard.tombstones WHERE kind = 'result' AND id IN (SELECT id FROM made) RETURNING 1
), readable AS (
  DELETE FROM asgard.unreadable WHERE kind = 'result' AND id IN (SELECT id FROM made) RETURNING 1
), unlisted AS (
  INSERT INTO asgard.writes (token, kind, id, run_id, replica, at, files, lists, observed)
  SELECT token, 'result', id, given.run_id, '', clock_timestamp(), '{{}}', true, true
    FROM given JOIN made USING (id)
  ON CONFLICT (token) DO UPDATE SET observed = true
  RETURNING 1
), asked AS (
  INSERT INTO asgard.requests
  SELECT * FROM unnest($13::text[], $14::text[], $15::bytea[], $16::bigint[])
  ON CONFLICT (kind, id) DO UPDATE SET digest = excluded.digest, at = excluded.at
  RETURNING 1
), moved AS (
  UPDATE asgard.run_log_head SET revision = revision + (SELECT count(*) FROM made)
   WHERE (SELECT count(*) FROM counted) + (SELECT count(*) FROM alive)
    + (SELECT count(*) FROM readable) + (SELECT count(*) FROM unlisted)
    + (SELECT count(*) FROM asked) >= 0
  RETURNING revision, revision - (SELECT count(*) FROM made) AS before
), logged AS (
  INSERT INTO asgard.run_log
  SELECT before + row_number() OVER (), 'result', id, run_id, false, $12::bigint FROM moved, made
)
SELECT revision, ARRAY(SELECT id FROM made), {gone} FROM moved
"""
_OBSERVE_NEW = _OBSERVE.format(begun="", after="", gone="NULL")
_BEGIN_AND_OBSERVE = _OBSERVE.format(
    begun=f"begun AS MATERIALIZED ({renumbered(_BEGIN, 16)}),",
    after="AND (SELECT count(*) FROM begun) >= 0",
    gone="ARRAY(SELECT ARRAY[gone_kind, gone_id] FROM begun)",
)


class New(NamedTuple):
    """A result to be taken in, and the note of its writing."""

    note: Note
    values: ResultValues


class Begun(NamedTuple):
    """Writes to be begun, by a replica."""

    replica: str
    writes: Sequence[Write]

    def columns(self) -> tuple[object, ...]:
        """What the statement takes."""
        return (
            self.replica,
            [write.token for write in self.writes],
            [write.key.kind for write in self.writes],
            [write.key.id for write in self.writes],
            [write.run_id for write in self.writes],
            ["/".join(write.files) for write in self.writes],
            [write.lists for write in self.writes],
        )


class Taken(NamedTuple):
    """The head revision after the commit, the rows that it made, and what is being deleted."""

    head: int
    rows: dict[Key, ResultRow]
    gone: frozenset[Key]


def may_be_new(written: Written, key: Key) -> bool:
    """Whether this process has written a result, and nobody before."""
    return _only_note(written, key) is not None


def new_result(written: Written, key: Key, now: int) -> New | None:
    """What is known of a result that nobody has written before, if it is small."""
    note = _only_note(written, key)
    own = None if note is None else standing((note,), None)
    if note is None or own is None or len(own.body) > SMALL:
        return None
    value = values_of({key: own}, now)[key]
    return New(note, value) if isinstance(value, ResultValues) else None


def _only_note(written: Written, key: Key) -> Note | None:
    if key.kind != "result":
        return None
    notes = written.of((key,)).get(key, ())
    only = notes[0] if len(notes) == 1 else None
    return only if only is not None and only.write.lists and only.found is not None else None


async def begin(connection: Connection, begun: Begun) -> frozenset[Key]:
    """Begin writes; answer which of their documents and runs are being deleted.

    Raises asyncpg's errors.
    """
    rows = await connection.fetch(_BEGIN, *begun.columns())
    return frozenset(Key(row[0], row[1]) for row in rows)


async def observe_new(
    connection: Connection,
    new: Sequence[New],
    now: int,
    digests: Mapping[Key, bytes],
    begun: Begun | None = None,
) -> Taken:
    """Take in new results, in a transaction of their own, and keep `digests` of requests.

    What is not among the answer has a row already: it is to be observed as everything else.
    `begun`: writes to be begun as well. Raises asyncpg's errors.
    """
    values = [one.values for one in new]
    row = await connection.fetchrow(
        _BEGIN_AND_OBSERVE if begun else _OBSERVE_NEW,
        sorted({slot_of(one.note.write.key) for one in new}),
        [one.note.write.token for one in new],
        [one.id for one in values],
        [one.run_id for one in values],
        [one.sorted_at for one in values],
        [one.created_at for one in values],
        [one.modified_at for one in values],
        [one.digest for one in values],
        [one.stamp for one in values],
        [one.result_type.encode("utf-8", "surrogatepass") for one in values],
        [one.display for one in values],
        now,
        [key.kind for key in digests],
        [key.id for key in digests],
        list(digests.values()),
        [now] * len(digests),
        *(begun.columns() if begun else ()),
    )
    assert row is not None  # noqa: S101 - the head is one row, always
    made = set(row[1])
    return Taken(
        row[0],
        {one.note.write.key: _row(one.values) for one in new if one.values.id in made},
        frozenset(Key(kind, id) for kind, id in row[2] or ()),
    )


def _row(values: ResultValues) -> ResultRow:
    return result_row(
        (
            *(values.id, values.run_id, values.result_type),
            *(values.display, values.sorted_at, values.digest),
        )
    )
