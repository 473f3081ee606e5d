"""Where new rows go, and their way there in as few statements as possible."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from asgard_server.store.rows import RunValues

PLACE_BITS = 20
_FIRST_GROUP, _LAST_GROUP = -(1 << 42), (1 << 42) - 1


def group_of(sorted_at: int) -> int:
    """The millisecond of a time in microseconds, kept within what a place can hold."""
    return min(max(sorted_at // 1000, _FIRST_GROUP), _LAST_GROUP)


def place_of(sorted_at: int, run_id: str) -> int:
    """The first rowid to try for a run: its millisecond, then 20 bits taken from its id.

    Rowids therefore follow the time of runs but for those of one millisecond, whose
    exact order (sorted_at, id) is looked up in the row.
    """
    return (group_of(sorted_at) << PLACE_BITS) | (zlib.crc32(run_id.encode()) & 0xFFFFF)


def next_place(place: int) -> int:
    """The place to try when `place` is taken: the next one of the same millisecond."""
    mask = (1 << PLACE_BITS) - 1
    return (place & ~mask) | ((place + 1) & mask)


# A statement writes this many rows, or half of that, and so on: each number of rows is a
# statement to be prepared, and those prepared are kept.
_MOST = 32


def insert_rows(
    connection: sqlite3.Connection,
    table: Literal["runs", "run_readers", "texts", "late", "log"],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Write whole rows, many at once: the interpreter is let go of and won back per statement."""
    start, count = 0, _MOST
    while start < len(rows):
        while count > len(rows) - start:
            count //= 2
        some = rows[start : start + count]
        marks = f"({', '.join('?' * len(some[0]))})"
        connection.execute(
            f"INSERT INTO {table} VALUES {', '.join([marks] * count)}",  # noqa: S608 - our tables
            [value for row in some for value in row],
        )
        start += count


def free_places(connection: sqlite3.Connection, runs: Sequence[RunValues]) -> list[int]:
    """A rowid for each run that no other has."""
    wanted = [place_of(one.sorted_at, one.id) for one in runs]
    taken = {
        row[0]
        for row in connection.execute(
            "SELECT place FROM runs WHERE place IN (SELECT value FROM json_each(?))",
            (json.dumps(wanted),),
        )
    }
    places = []
    for place in wanted:
        while place in taken:
            place = next_place(place)
            if _is_taken(connection, place):
                taken.add(place)
        taken.add(place)
        places.append(place)
    return places


def _is_taken(connection: sqlite3.Connection, place: int) -> bool:
    row = connection.execute("SELECT 1 FROM runs WHERE place = ?", (place,)).fetchone()
    return row is not None
