"""Pages of runs in PostgreSQL, newest first by (sorted_at, id), whole or by words.

A word of three letters or more is LIKE '%word%', which the trigram index answers where there
is one; shorter words, and those behind the first dozen, are looked for in the texts of the
newest candidates (LOOKED_AT). Both compare bytes of folded text, as everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_server.run.store import LOOKED_AT, RunRow
from asgard_server.store import postgres_readers
from asgard_server.store.postgres_readers import Counts
from asgard_server.store.rows import fold, run_row
from asgard_server.store.sql.postgres import PostgresSession

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

# A list says at most "10,000+".
COUNTED_TO = 10_001
_MOST_PATTERNS = 12

# What rows.run_row makes a row of.
RUN_COLUMNS = (
    "d.id, d.document, d.sorted_at, d.created_at, coalesce(c.results, 0), d.digest,"
    " greatest(d.changed_at, c.changed_at)"
)
RUNS = "asgard.runs d LEFT JOIN asgard.result_counts c ON c.run_id = d.id"


def conditions(query: str) -> tuple[list[str], list[str]]:
    """SQL that holds for a run's `text` if every word of `query` is in it, and its arguments."""
    words = sorted(set(fold(query).split()), key=len, reverse=True)
    clauses: list[str] = []
    arguments: list[str] = []
    for number, word in enumerate(words, 1):
        if len(word) >= 3 and number <= _MOST_PATTERNS:
            clauses.append(f"text LIKE ${number}")
            escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            arguments.append(f"%{escaped}%")
        else:
            clauses.append(f"strpos(text, ${number}) > 0")
            arguments.append(word)
    return clauses, arguments


async def list_runs(
    connection: Connection,
    query: str,
    behind: tuple[int, str] | None,
    limit: int,
    by: frozenset[str] | None = None,
    counts: Counts | None = None,
) -> tuple[list[RunRow], int]:
    """One page behind a position (sorted_at, id), and how many match in all.

    Only of what the principals `by` may read, unless it is None. `counts` are remembered.
    """
    clauses, arguments = conditions(query)
    if by is not None and not clauses:
        return await _readable(connection, behind, limit, by, counts or Counts())
    found: list[object] = [*arguments]
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if clauses:
            # A plan made without the words cannot tell a rare one from one that is everywhere.
            await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            floor = await _floor(connection, clauses, arguments)
            if floor is not None:
                clauses.append(f"(sorted_at, id) >= (${len(found) + 1}, ${len(found) + 2})")
                found += floor
            if by is not None:
                clauses.append(postgres_readers.condition(len(found) + 1))
                found.append(sorted(by))
        place, values = [], [*found]
        if behind is not None:
            place.append(f"(sorted_at, id) < (${len(values) + 1}, ${len(values) + 2})")
            values += behind
        where = " WHERE " + " AND ".join([*clauses, *place]) if clauses or place else ""
        rows = await connection.fetch(
            f"SELECT {RUN_COLUMNS} FROM (SELECT * FROM asgard.runs{where}"  # noqa: S608 - ours
            f" ORDER BY sorted_at DESC, id DESC LIMIT ${len(values) + 1}) d"
            " LEFT JOIN asgard.result_counts c ON c.run_id = d.id"
            " ORDER BY d.sorted_at DESC, d.id DESC",
            *(*values, limit),
        )
        if not clauses:
            total = await connection.fetchval(
                f"SELECT least(runs, {COUNTED_TO}) FROM asgard.run_log_head"  # noqa: S608 - ours
            )
        elif behind is None and len(rows) < limit:
            total = len(rows)
        else:
            total = await connection.fetchval(
                "SELECT count(*) FROM (SELECT FROM asgard.runs"  # noqa: S608 - ours
                f" WHERE {' AND '.join(clauses)} LIMIT {COUNTED_TO}) found",
                *found,
            )
    return [run_row(tuple(row)) for row in rows], total


async def _readable(
    connection: Connection,
    behind: tuple[int, str] | None,
    limit: int,
    by: frozenset[str],
    counts: Counts,
) -> tuple[list[RunRow], int]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        session = PostgresSession(connection)
        places = await postgres_readers.page(session, by, behind, limit)
        rows = await postgres_readers.rows_at(session, RUN_COLUMNS, RUNS, places)
        if behind is None and len(places) < limit:
            return rows, len(places)
        return rows, await counts.count(session, by, COUNTED_TO)


async def _floor(
    connection: Connection, clauses: list[str], arguments: list[str]
) -> tuple[int, str] | None:
    """The position of the oldest run whose text is looked at for words without an index."""
    indexed = [clause for clause in clauses if clause.startswith("text LIKE")]
    if len(indexed) == len(clauses):
        return None
    where = f"WHERE {' AND '.join(indexed)}" if indexed else ""
    row = await connection.fetchrow(
        f"SELECT sorted_at, id FROM asgard.runs {where}"  # noqa: S608 - ours
        f" ORDER BY sorted_at DESC, id DESC LIMIT 1 OFFSET {LOOKED_AT - 1}",
        *arguments[: len(indexed)],
    )
    return None if row is None else (row[0], row[1])
