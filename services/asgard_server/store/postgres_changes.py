"""What a transaction of the index in PostgreSQL writes: collected, then written by one statement.

A round trip costs more than what it carries. The entries of the log are not written here but
put into settings of the transaction, so that the statement which numbers them needs no
arguments and can be sent together with COMMIT.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_server.run.ledger import Write
from asgard_server.run.store import Key, Kind
from asgard_server.store.rows import ResultValues, RunValues, spelt
from asgard_server.store.written import Note

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

# What may have to be written, each with arguments of its own. Rows of result_counts are locked
# in the order of their ids. A write that is not there was ended by somebody who took its writer
# for dead.
_PARTS = {
    "runs": """
  INSERT INTO asgard.runs
  SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
    $6::bytea[], $7::text[], $8::bytea[], $9::text[])
  ON CONFLICT (id) DO UPDATE SET sorted_at = excluded.sorted_at,
    created_at = excluded.created_at, changed_at = excluded.changed_at,
    noticed_at = excluded.noticed_at, digest = excluded.digest, stamp = excluded.stamp,
    document = excluded.document, text = excluded.text
""",
    "guarded": """
  INSERT INTO asgard.runs
  SELECT g.id, sorted_at, created_at, changed_at, noticed_at, digest, stamp, document, text,
    CASE WHEN readers IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(readers::json)) END
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[],
      $7::text[], $8::bytea[], $9::text[], $10::text[])
    AS g (id, sorted_at, created_at, changed_at, noticed_at, digest, stamp, document, text, readers)
  ON CONFLICT (id) DO UPDATE SET sorted_at = excluded.sorted_at,
    created_at = excluded.created_at, changed_at = excluded.changed_at,
    noticed_at = excluded.noticed_at, digest = excluded.digest, stamp = excluded.stamp,
    document = excluded.document, text = excluded.text, readers = excluded.readers
""",
    "unread": """
  DELETE FROM asgard.run_readers r USING unnest($1::text[], $2::bigint[], $3::text[])
    AS k (principal, sorted_at, id)
   WHERE r.principal = k.principal AND r.sorted_at = k.sorted_at AND r.id = k.id
""",
    "read": """
  INSERT INTO asgard.run_readers SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
  ON CONFLICT DO NOTHING
""",
    "results": """
  INSERT INTO asgard.results
  SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
    $6::bigint[], $7::bytea[], $8::text[], $9::bytea[], $10::bytea[])
  ON CONFLICT (id) DO UPDATE SET run_id = excluded.run_id, sorted_at = excluded.sorted_at,
    created_at = excluded.created_at, changed_at = excluded.changed_at,
    noticed_at = excluded.noticed_at, digest = excluded.digest, stamp = excluded.stamp,
    result_type = excluded.result_type, display = excluded.display
""",
    "counts": """
  INSERT INTO asgard.result_counts
  SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
    AS more (run_id, results, changed_at)
   ORDER BY more.run_id COLLATE "C"
  ON CONFLICT (run_id) DO UPDATE SET results = result_counts.results + excluded.results,
    changed_at = greatest(result_counts.changed_at, excluded.changed_at)
""",
    "alive": """
  DELETE FROM asgard.tombstones t USING unnest($1::text[], $2::text[]) AS k (kind, id)
   WHERE t.kind = k.kind AND t.id = k.id
""",
    "readable": """
  DELETE FROM asgard.unreadable u USING unnest($1::text[], $2::text[]) AS k (kind, id)
   WHERE u.kind = k.kind AND u.id = k.id
""",
    "unlisted": """
  INSERT INTO asgard.writes (token, kind, id, run_id, replica, at, files, lists, observed)
  SELECT token, 'result', id, run_id, '', clock_timestamp(), '{}', true, true
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS w (token, id, run_id)
  ON CONFLICT (token) DO UPDATE SET observed = true
""",
    "ended": "DELETE FROM asgard.writes WHERE token = ANY($1::uuid[])",
    "digests": """
  INSERT INTO asgard.requests
  SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[])
  ON CONFLICT (kind, id) DO UPDATE SET digest = excluded.digest, at = excluded.at
""",
}
_SETTINGS = """
SELECT set_config('asgard.entries', $1, true), set_config('asgard.more_runs', $2, true),
  set_config('asgard.now', $3, true)
"""

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
  current_setting('asgard.now')::bigint, value->>4, value->>5
  FROM moved, entries;
COMMIT
"""

# Kind, id, run, whether it is gone; and where not everybody could read it before, or can behind it,
# lists of who.
_Entry = (
    tuple[Kind, str, str, bool]
    | tuple[Kind, str, str, bool, Sequence[str] | None, Sequence[str] | None]
)
# A row by which a run is found: who may read it, sorted_at and id.
_Reading = tuple[str, int, str]

_NO_LONGER_COUNTED = """
DELETE FROM asgard.result_counts WHERE run_id = ANY($1::text[]) AND results = 0
 AND run_id NOT IN (SELECT id FROM asgard.runs WHERE id = ANY($1::text[]))
"""


@dataclass(slots=True)
class Changes:
    """What is to be written, at `now` (microseconds).

    alive: documents with a row, which are not deleted any more; readable: those that can be
    read, or are gone; guarded: those of `runs` that some may read, or could, with what they are to
    be found by from now on and no more (`read`, `unread`); counts: more results of runs, and
    when the last of them changed.
    """

    now: int
    runs: list[RunValues] = field(default_factory=list)
    guarded: list[RunValues] = field(default_factory=list)
    unread: set[_Reading] = field(default_factory=set)
    read: set[_Reading] = field(default_factory=set)
    results: list[ResultValues] = field(default_factory=list)
    alive: list[Key] = field(default_factory=list)
    readable: list[Key] = field(default_factory=list)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    entries: list[_Entry] = field(default_factory=list)
    more_runs: int = 0
    unlisted: list[Write] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    digests: dict[Key, bytes] = field(default_factory=dict)

    def take_run(
        self, run: RunValues, before: Sequence[str] | None = None, sorted_at: int = 0
    ) -> None:
        """Write a run, that could be read by those `before` where it was sorted."""
        if run.readers is None and before is None:
            self.runs.append(run)
            return
        self.guarded.append(run)
        self.unread.update((each, sorted_at, run.id) for each in before or ())
        self.read.update((each, run.sorted_at, run.id) for each in run.readers or ())

    def count(self, run_id: str, more: int, changed_at: int) -> None:
        """Count results of a run."""
        before, changed = self.counts.get(run_id, (0, 0))
        self.counts[run_id] = (before + more, max(changed, changed_at))

    def end(self, notes: Iterable[Note], there: set[Key]) -> None:
        """End writes. `there`: documents that exist; results stay until their run names them."""
        for note in notes:
            if note.write.lists and note.write.key in there:
                self.unlisted.append(note.write)
            else:
                self.ended.append(note.write.token)

    async def write(self, connection: Connection) -> None:
        """Write all but the log."""
        more, changed = _columns(self.counts.values(), 2)
        columns = {
            "runs": _columns(map(self._run, self.runs), 9),
            "guarded": _columns(
                ((*self._run(one), spelt(one.readers)) for one in self.guarded), 10
            ),
            "unread": _columns(sorted(self.unread - self.read), 3),
            "read": _columns(sorted(self.read - self.unread), 3),
            "results": _columns(map(self._result, self.results), 10),
            "counts": [list(self.counts), more, changed],
            "alive": _columns(self.alive, 2),
            "readable": _columns(self.readable, 2),
            "unlisted": _columns(((one.token, one.key.id, one.run_id) for one in self.unlisted), 3),
            "ended": [self.ended],
            "digests": _columns(((*key, one, self.now) for key, one in self.digests.items()), 4),
        }
        arguments = {part: some for part, some in columns.items() if some[0]}
        await connection.execute(
            _statement(tuple(arguments)),
            *(column for some in arguments.values() for column in some),
            *(json.dumps(self.entries), str(self.more_runs), str(self.now)),
        )
        if self.more_runs < 0 or any(number < 0 for number in more):
            # The rows are held by the statement before, so this waits for nobody.
            await connection.execute(_NO_LONGER_COUNTED, list(self.counts))

    async def commit(self, connection: Connection) -> None:
        """Number and write the log entries, last of all, and commit."""
        logged = self.entries or self.more_runs
        await connection.execute(_LOG_AND_COMMIT if logged else "COMMIT")

    def _run(self, one: RunValues) -> tuple[Any, ...]:
        return (
            *(one.id, one.sorted_at, one.created_at, one.modified_at, self.now),
            *(one.digest, one.stamp, one.document, one.text),
        )

    def _result(self, one: ResultValues) -> tuple[Any, ...]:
        return (
            *(one.id, one.run_id, one.sorted_at, one.created_at, one.modified_at),
            *(self.now, one.digest, one.stamp),
            *(one.result_type.encode("utf-8", "surrogatepass"), one.display),
        )


@functools.cache
def _statement(parts: tuple[str, ...]) -> str:
    """The one statement that writes these parts; few sets of them ever come."""
    wants, first = [], 0
    for part in parts:
        wants.append(f"{part} AS ({renumbered(_PARTS[part], first)})")
        first += _PARTS[part].count("$")
    before = f"WITH {', '.join(wants)}" if wants else ""
    return before + renumbered(_SETTINGS, first)


def renumbered(sql: str, first: int) -> str:
    """A statement as part of another one, which has `first` arguments before."""
    return re.sub(r"\$(\d+)", lambda number: f"${int(number[1]) + first}", sql)


def _columns(rows: Iterable[Iterable[Any]], width: int) -> list[list[Any]]:
    """Rows as columns: `width` lists, also where there is no row."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]
