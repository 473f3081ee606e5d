"""Pages and counts of the runs that a caller may read, in PostgreSQL (docs/protocols.md 13).

As sqlite_readers.py: the merge of the newest runs of each principal, and of those that are
everybody's. Of many principals only those are asked whose newest run is among the newest of all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from asgard_server.run.store import RunRow
from asgard_server.store.rows import RunValues, run_row

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

OF_EVERYBODY = "readers IS NULL AND position('\"owner\"'::bytea IN document) = 0"
"""That a run is everybody's; as the release before writes a row, its document tells."""
_WORD = b'"owner"'

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
        *(sorted(by), limit, *(behind or ())),
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


async def count(connection: Connection, by: Collection[str], most: int) -> int:
    """How many runs these principals may read, counted up to `most`."""
    found: Any = await connection.fetchval(
        f"SELECT (SELECT count(*) FROM (SELECT FROM asgard.runs WHERE {OF_EVERYBODY}"  # noqa: S608 - ours
        " LIMIT $2) AS of_all) + (SELECT count(DISTINCT id) FROM unnest($1::text[]) AS one (value)"
        " CROSS JOIN LATERAL (SELECT id FROM asgard.run_readers WHERE principal = one.value"
        " LIMIT $2) AS own)",
        *(sorted(by), most),
    )
    return min(int(found), most)
