"""The texts of runs, and the words in them: the latest wait to be indexed together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from asgard_server.store.sqlite_places import insert_rows

# Runs whose words wait to be indexed together; until then a search looks at each of them.
LATE = 256


def add_texts(connection: sqlite3.Connection, texts: Sequence[tuple[int, str]]) -> None:
    """Write the texts of new runs, by their places."""
    insert_rows(connection, "texts", texts)
    insert_rows(connection, "late", [(place,) for place, _ in texts])


def write_text(connection: sqlite3.Connection, place: int, text: str) -> bool:
    """Write the text of a run; answer whether that is another one than before."""
    row = connection.execute("SELECT text FROM texts WHERE place = ?", (place,)).fetchone()
    if row is not None:
        if row[0] == text:  # most changes of a run are of what nobody searches
            return False
        remove_text(connection, place)
    connection.execute("INSERT INTO texts VALUES (?, ?)", (place, text))
    connection.execute("INSERT INTO late VALUES (?)", (place,))
    return True


def remove_text(connection: sqlite3.Connection, place: int) -> None:
    """Forget the text of a run, and its words."""
    if not connection.execute("DELETE FROM late WHERE place = ?", (place,)).rowcount:
        # A contentless table must be told what it forgets.
        connection.execute(
            "INSERT INTO words (words, rowid, text)"
            " SELECT 'delete', place, text FROM texts WHERE place = ?",
            (place,),
        )
    connection.execute("DELETE FROM texts WHERE place = ?", (place,))


def index_late(connection: sqlite3.Connection) -> None:
    """Index the words of those that wait, where they are enough."""
    (late,) = connection.execute("SELECT count(*) FROM late").fetchone()
    if late >= LATE:
        connection.execute(
            "INSERT INTO words (rowid, text)"
            " SELECT place, text FROM late JOIN texts USING (place) ORDER BY place"
        )
        connection.execute("DELETE FROM late")
