"""Pages and counts of the runs that a caller may read, in PostgreSQL (docs/protocols.md 13).

As sqlite_readers.py: the merge of the newest runs of each principal, and of those that are
everybody's. Of many principals only those are asked whose newest run is among the newest of all.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from asgard_server.run.store import RunRow
from asgard_server.store.rows import RunValues, run_row

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

OF_EVERYBODY = "readers IS NULL AND position('\"owner\"'::bytea IN document) = 0"
"""That a run is everybody's; as the release before writes a row, its document tells."""
_WORD = b'"owner"'

# Of many principals so many tell how far back a page reaches, with this much more than it needs;
# where more than `_RECENT` lies there, they told wrong.
_SAMPLE = 64
_MORE = 2.5
_RECENT = 2_000
# Callers whose counts are remembered.
_CALLERS = 1_000

Place = tuple[int, str]
"""A run's sorted_at and id, by which lists are ordered."""


def told(run: RunValues) -> RunValues:
    """What is written of a run that is everybody's, but whose document says the word all the same:
    that everybody reads it.
    """
    if run.readers is None and _WORD in run.document:
        return run._replace(readers=("everyone",))
    return run


def is_untold(readers: Sequence[str] | None, document: bytes) -> bool:
    """Whether the release before has written a row, which says nothing of who may read the run."""
    return readers is None and _WORD in document


def condition(argument: int, run: str = "") -> str:
    """A condition that a row of runs is one of a caller's, whose principals are an argument."""
    of = f"{run}." if run else ""
    everybody = OF_EVERYBODY.replace("readers", f"{of}readers").replace(
        "IN document", f"IN {of}document"
    )
    return f"(({everybody}) OR {of}readers && ${argument}::text[])"


async def page(
    connection: Connection, by: Collection[str], behind: Place | None, limit: int
) -> list[Place]:
    """What these principals may read, newest first, of what lies behind a position."""
    keys = sorted(by)
    found = await _recent(connection, keys, behind, limit) if len(keys) > _SAMPLE else None
    return await _led(connection, keys, behind, limit) if found is None else found


async def _recent(
    connection: Connection, keys: Sequence[str], behind: Place | None, limit: int
) -> list[Place] | None:
    """The page, if all that lies behind a time that a sample of the principals tells is one.

    One scan that steps from principal to principal costs less than a seek for each. It answers
    None where too little or too much lies there: the newest of some may say nothing of others.
    """
    # By chance: names that follow one another may be of teams that are alike.
    sample = random.Random(len(keys)).sample(keys, _SAMPLE)  # noqa: S311 - no secret
    place = min(_SAMPLE, math.ceil(_MORE * limit * _SAMPLE / len(keys)))
    further = "" if behind is None else " AND (sorted_at, id) < ($6, $7)"
    newest = f"{further} ORDER BY sorted_at DESC, id DESC LIMIT"
    rows = await connection.fetch(
        "WITH heads AS MATERIALIZED (SELECT (SELECT sorted_at FROM asgard.run_readers"  # noqa: S608 - ours
        f" WHERE principal = one.value{newest} 1) AS newest"
        " FROM unnest($1::text[]) AS one (value)),"
        " since AS (SELECT newest FROM heads WHERE newest IS NOT NULL"
        " ORDER BY newest DESC OFFSET $2 LIMIT 1),"
        " recent AS MATERIALIZED (SELECT sorted_at, id FROM asgard.run_readers"
        " WHERE principal = ANY($3::text[])"
        f" AND sorted_at >= (SELECT newest FROM since){further} LIMIT $4),"
        " own AS (SELECT DISTINCT sorted_at, id FROM recent ORDER BY sorted_at DESC, id DESC"
        " LIMIT $5)"
        " SELECT DISTINCT sorted_at, id, (SELECT count(*) FROM recent), (SELECT count(*) FROM own)"
        " FROM (SELECT * FROM own UNION ALL SELECT * FROM (SELECT sorted_at, id FROM asgard.runs"
        f" WHERE {OF_EVERYBODY}{newest} $5) AS of_all) AS merged"
        " ORDER BY sorted_at DESC, id DESC LIMIT $5",
        *(sample, place - 1, keys, _RECENT, limit, *(behind or ())),
    )
    if not rows or rows[0][2] == _RECENT or rows[0][3] < limit:
        return None
    return [(row[0], row[1]) for row in rows]


async def _led(
    connection: Connection, keys: Sequence[str], behind: Place | None, limit: int
) -> list[Place]:
    """The merge of what those principals have that can have a part in the page."""
    further = "" if behind is None else " AND (sorted_at, id) < ($3, $4)"
    newest = f"{further} ORDER BY sorted_at DESC, id DESC LIMIT"
    rows = await connection.fetch(
        "WITH heads AS MATERIALIZED (SELECT (SELECT sorted_at FROM asgard.run_readers"  # noqa: S608 - ours
        f" WHERE principal = one.value{newest} 1) AS newest, one.value"
        " FROM unnest($1::text[]) AS one (value)),"
        " times AS (SELECT DISTINCT newest FROM heads WHERE newest IS NOT NULL"
        " ORDER BY newest DESC LIMIT $2),"
        " bound AS (SELECT CASE WHEN count(*) < $2 THEN -9223372036854775808 ELSE min(newest) END"
        " AS since FROM times),"
        " leaders AS (SELECT value FROM heads CROSS JOIN bound WHERE newest >= since)"
        " SELECT DISTINCT sorted_at, id FROM ("
        " SELECT own.sorted_at, own.id FROM leaders CROSS JOIN LATERAL"
        " (SELECT sorted_at, id FROM asgard.run_readers WHERE principal = leaders.value"
        f"{newest} $2) AS own"
        f" UNION ALL SELECT * FROM (SELECT sorted_at, id FROM asgard.runs WHERE {OF_EVERYBODY}"
        f"{newest} $2) AS of_all) AS merged ORDER BY sorted_at DESC, id DESC LIMIT $2",
        *(keys, limit, *(behind or ())),
    )
    return [(row[0], row[1]) for row in rows]


async def rows_at(
    connection: Connection, columns: str, tables: str, places: Sequence[Place]
) -> list[RunRow]:
    """The rows of runs at these positions, in their order."""
    found = await connection.fetch(
        f"SELECT {columns} FROM {tables} WHERE d.id = ANY($1::text[])",  # noqa: S608 - ours
        [run_id for _, run_id in places],
    )
    rows = {row[0]: run_row(tuple(row)) for row in found}
    return [rows[run_id] for _, run_id in places if run_id in rows]


class Counts:
    """How many runs callers may read, counted again when something has changed."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[frozenset[str], int], tuple[str, int, int]] = OrderedDict()

    async def count(self, connection: Connection, by: frozenset[str], most: int) -> int:
        """How many runs these principals may read, counted up to `most`.

        In the transaction whose snapshot is counted: what changes a row moves the log with it.
        """
        head: Any = await connection.fetchrow(
            "SELECT epoch, revision, state FROM asgard.run_log_head"
        )
        epoch, revision, state = head
        found = self._known.get((by, most))
        if found is not None and found[:2] == (epoch, revision):
            return found[2]
        total = await count(connection, by, most)
        if state == "whole":  # while it is built, rows come without
            self._known[by, most] = (epoch, revision, total)
            self._known.move_to_end((by, most))
            if len(self._known) > _CALLERS:
                self._known.popitem(last=False)
        return total


async def count(connection: Connection, by: Collection[str], most: int) -> int:
    """How many runs these principals may read, counted up to `most`."""
    keys = sorted(by)
    row: Any = await connection.fetchrow(
        f"SELECT (SELECT count(*) FROM (SELECT FROM asgard.runs WHERE {OF_EVERYBODY}"  # noqa: S608 - ours
        " LIMIT $2) AS of_all), count(*), coalesce(sum(times), 0) FROM (SELECT count(*) AS times"
        " FROM (SELECT id FROM asgard.run_readers WHERE principal = ANY($1::text[])"
        " LIMIT 2 * $2) AS looked GROUP BY id) AS own",
        *(keys, most),
    )
    of_all, own, looked = row
    if looked == 2 * most and of_all + own < most:  # most of them are several principals' own
        own = await connection.fetchval(
            "SELECT count(DISTINCT id) FROM asgard.run_readers WHERE principal = ANY($1::text[])",
            keys,
        )
    return int(min(of_all + own, most))
