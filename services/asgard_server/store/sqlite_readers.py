"""Who may read runs, in SQLite, and pages and counts of those that a caller may read
(docs/protocols.md 13).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from asgard_server.store.rows import RunValues
from asgard_server.store.sql import newest
from asgard_server.store.sql.newest import Position, Shelf
from asgard_server.store.sql.sqlite import ended

_RUNS = Shelf("run_readers", "sorted_at", "id", "runs", free="readers IS NULL")


def condition(run: str) -> str:
    """A condition that a row of `runs`, called `run`, is one of a caller's: it takes `keys_of`."""
    return (
        f"({run}.readers IS NULL OR EXISTS (SELECT 1 FROM json_each({run}.readers) AS reader"  # noqa: S608 - ours
        " WHERE reader.value IN (SELECT value FROM json_each(?))))"
    )


def keys_of(by: Collection[str]) -> str:
    """Principals as the argument of a statement."""
    return json.dumps(sorted(by))


def page(
    connection: sqlite3.Connection, by: Collection[str], behind: Position | None, limit: int
) -> list[Position]:
    """What these principals may read, newest first, of what lies behind a position."""
    return ended(lambda session: newest.page(session, _RUNS, by, behind, limit), connection)


def count(connection: sqlite3.Connection, by: Collection[str], most: int) -> int:
    """How many runs these principals may read, counted up to `most`."""
    (of_all,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM runs WHERE readers IS NULL LIMIT ?)", (most,)
    ).fetchone()
    (own,) = connection.execute(
        "SELECT count(*) FROM (SELECT DISTINCT id FROM run_readers"
        " WHERE principal IN (SELECT value FROM json_each(?)) LIMIT ?)",
        (keys_of(by), most),
    ).fetchone()
    return min(int(of_all) + int(own), most)


def rows_of(run: RunValues) -> list[tuple[str, int, str]]:
    """The rows by which those who may read a run find it; none, where that is everybody."""
    return [(each, run.sorted_at, run.id) for each in run.readers or ()]


def forget(
    connection: sqlite3.Connection, run_id: str, sorted_at: int, readers: str | None
) -> None:
    """Remove the rows of a run whose readers, as its own row spells them, are these."""
    if readers is not None:
        connection.execute(
            "DELETE FROM run_readers WHERE principal IN (SELECT value FROM json_each(?))"
            " AND sorted_at = ? AND id = ?",
            (readers, sorted_at, run_id),
        )
