"""The change log as it is written: numbered at the end of a transaction, and trimmed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from asgard_server.run.store import Kind
from asgard_server.store.retention import DAY, Kept
from asgard_server.store.sqlite_places import insert_rows

_TRIM_EVERY = 1_000

_HEAD = "revision, (SELECT value FROM meta WHERE key = 'epoch')"

# Kind, id, run, whether it is gone, and as JSON who could read it before, and behind it.
Entry = tuple[Kind, str, str, int, str | None, str | None]


def append(
    connection: sqlite3.Connection, entries: Sequence[Entry], more_runs: int, now: int
) -> tuple[int, str]:
    """Number and write entries, and count runs; answer the head revision, and the epoch."""
    ((head, epoch),) = connection.execute(
        f"UPDATE log_head SET revision = revision + ?, runs = runs + ? RETURNING {_HEAD}"  # noqa: S608 - ours
        if entries or more_runs
        else f"SELECT {_HEAD} FROM log_head",  # noqa: S608 - ours
        (len(entries), more_runs) if entries or more_runs else (),
    ).fetchall()
    first = head - len(entries) + 1
    insert_rows(
        connection,
        "log",
        [(first + n, *entry[:4], now, *entry[4:]) for n, entry in enumerate(entries)],
    )
    return int(head), epoch


def trim(connection: sqlite3.Connection, first: int, head: int, kept: Kept, now: int) -> None:
    """Once in so many revisions, of which `first` to `head` are new, forget what is old."""
    if first // _TRIM_EVERY == (head + 1) // _TRIM_EVERY:
        return
    old = now - kept.days * DAY
    connection.execute(
        "DELETE FROM log WHERE revision <= ? OR revision < (SELECT revision FROM log"
        " WHERE at >= ? OR revision = ? ORDER BY revision LIMIT 1)",
        (head - kept.entries, old, head),
    )
    connection.execute("DELETE FROM tombstones WHERE at < ?", (old,))
    connection.execute("DELETE FROM requests WHERE at < ?", (old,))
