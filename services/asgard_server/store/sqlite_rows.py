"""Rows of SQLite's index and entries of its log, as they are looked up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from asgard_server.run.store import Change, Key, ResultRow, RevisionGoneError, RunRow
from asgard_server.run.store import Readers as StoredReaders
from asgard_server.store import sqlite_readers
from asgard_server.store.rows import RESULT_COLUMNS, RUN_COLUMNS, result_row, run_row, unspelt
from asgard_server.store.sqlite_schema import TABLE


def rows_of(connection: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, RunRow | ResultRow]:
    """Rows of documents, as of one moment; those that are gone are left out."""
    found: dict[Key, RunRow | ResultRow] = {}
    for key in keys:
        columns = RUN_COLUMNS if key.kind == "run" else RESULT_COLUMNS
        row = connection.execute(
            f"SELECT {columns} FROM {TABLE[key.kind]} WHERE id = ?",  # noqa: S608 - ours
            (key.id,),
        ).fetchone()
        if row is not None:
            found[key] = run_row(row) if key.kind == "run" else result_row(row)
    return found


def changes_behind(connection: sqlite3.Connection, behind: int, limit: int) -> list[Change]:
    """Entries of the log behind a revision, in order. Raises `RevisionGoneError`."""
    entries = [
        Change(revision, Key(kind, object_id), run_id, bool(gone), unspelt(before), unspelt(after))
        for revision, kind, object_id, run_id, gone, before, after in connection.execute(
            "SELECT revision, kind, id, run_id, gone, readers_before, readers_after FROM log"
            " WHERE revision > ? ORDER BY revision LIMIT ?",
            (behind, limit),
        )
    ]
    if entries and entries[0].revision != behind + 1:
        raise RevisionGoneError(behind, entries[0].revision)
    return entries


def head(connection: sqlite3.Connection) -> tuple[str, int]:
    """The epoch, and the newest revision."""
    epoch, revision = connection.execute(
        "SELECT value, revision FROM meta, log_head WHERE key = 'epoch'"
    ).fetchone()
    return epoch, revision


def circles_of(
    connection: sqlite3.Connection, run_ids: Collection[str]
) -> dict[str, StoredReaders]:
    """Who may read these runs; those that are not there are left out."""
    if not run_ids:
        return {}
    rows = connection.execute(
        "SELECT id, readers FROM runs WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(run_ids)),),
    )
    return {run_id: unspelt(readers) for run_id, readers in rows}


def walked(
    connection: sqlite3.Connection,
    columns: str,
    table: str,
    behind: str,
    limit: int,
    by: frozenset[str] | None,
) -> Iterator[tuple[Any, ...]]:
    """Rows of a table by their ids, behind one; only of what `by` may read, unless it is None."""
    may = ""
    keys: tuple[str, ...] = ()
    if by is not None:
        may, keys = f" AND {sqlite_readers.condition('runs')}", (sqlite_readers.keys_of(by),)
        if table == "results":
            may = f" AND EXISTS (SELECT 1 FROM runs WHERE runs.id = results.run_id{may})"  # noqa: S608 - ours
    return connection.execute(
        f"SELECT {columns} FROM {table} WHERE id > ?{may} ORDER BY id LIMIT ?",  # noqa: S608 - ours
        (behind, *keys, limit),
    )


def results_of(
    connection: sqlite3.Connection, run_id: str, behind: tuple[Any, ...], limit: int
) -> list[ResultRow]:
    """Results of a run, oldest first, behind a time and an id where they are given."""
    where = "AND (sorted_at, id) > (?, ?)" if behind else ""
    return [
        result_row(row)
        for row in connection.execute(
            f"SELECT {RESULT_COLUMNS} FROM results WHERE run_id = ? {where}"  # noqa: S608 - ours
            " ORDER BY sorted_at, id LIMIT ?",
            (run_id, *behind, limit),
        )
    ]


def result_ids(connection: sqlite3.Connection, run_id: str) -> list[str]:
    """Ids of all results of a run, oldest first."""
    return [
        row[0]
        for row in connection.execute(
            "SELECT id FROM results WHERE run_id = ? ORDER BY sorted_at, id", (run_id,)
        )
    ]
