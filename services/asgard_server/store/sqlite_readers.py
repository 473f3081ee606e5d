"""Who may read runs, in SQLite, and pages and counts of those that a caller may read
(docs/protocols.md 13).

A page is the merge of the newest runs of each of the caller's principals, and of those that are
everybody's: a few seeks in an index, wherever in time the readable ones lie. Of many principals
only those can have a part in it whose newest run is among the newest of all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from asgard_server.store.rows import RunValues

# Seeks in one statement: SQLite refuses 500.
_SEEKS = 64

Place = tuple[int, str]
"""A run's sorted_at and id, by which lists are ordered."""


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
    connection: sqlite3.Connection, by: Collection[str], behind: Place | None, limit: int
) -> list[Place]:
    """What these principals may read, newest first, of what lies behind a position."""
    keys: Sequence[str] = sorted(by)
    if len(keys) > _SEEKS:
        keys = _leading(connection, keys, behind, limit)
    further = "" if behind is None else " AND (sorted_at, id) < (?, ?)"
    newest = f"{further} ORDER BY sorted_at DESC, id DESC LIMIT ?"
    of_all = f"SELECT sorted_at, id FROM runs WHERE readers IS NULL{newest}"  # noqa: S608 - ours
    found: set[Place] = set(connection.execute(of_all, (*(behind or ()), limit)))
    one = f"SELECT * FROM (SELECT sorted_at, id FROM run_readers WHERE principal = ?{newest})"  # noqa: S608 - ours
    for first in range(0, len(keys), _SEEKS):
        some = keys[first : first + _SEEKS]
        # As few statements as there are powers of two: nobody is called "", who costs nothing.
        padded = [*some, *[""] * ((1 << (len(some) - 1).bit_length()) - len(some))]
        found.update(
            connection.execute(
                " UNION ALL ".join([one] * len(padded)),
                [value for key in padded for value in (key, *(behind or ()), limit)],
            )
        )
    return sorted(found, reverse=True)[:limit]


def _leading(
    connection: sqlite3.Connection, keys: Sequence[str], behind: Place | None, limit: int
) -> list[str]:
    """Those principals of many that can have a part in a page.

    Behind `limit` newest runs of different times there is no place for what is older than all of
    them, and so none for a principal whose newest is.
    """
    further = "" if behind is None else " AND (sorted_at, id) < (?, ?)"
    heads = connection.execute(
        "SELECT one.value, (SELECT sorted_at FROM run_readers WHERE principal = one.value"  # noqa: S608 - ours
        f"{further} ORDER BY sorted_at DESC, id DESC LIMIT 1) FROM json_each(?) AS one",
        (*(behind or ()), json.dumps(list(keys))),
    ).fetchall()
    times = sorted({newest for _, newest in heads if newest is not None}, reverse=True)[:limit]
    since = times[-1] if len(times) == limit else None
    return [
        key for key, newest in heads if newest is not None and (since is None or newest >= since)
    ]


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
