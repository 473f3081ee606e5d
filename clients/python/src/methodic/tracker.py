"""Uploads under way, in a file: what a crash leaves behind is known to the next process."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that was begun and has not ended: what to upload, as which asset, for whom."""

    number: int
    local_dir: Path
    asset_type: str
    asset_id: str
    name: str | None
    experiment_id: str | None
    variation: int | None
    run: int | None
    started_at: float
    problem: str | None


class UploadTracker:
    """A SQLite file (WAL) of uploads that are under way; threads and processes may share it."""

    def __init__(self, db_path: str | os.PathLike[str]) -> None:
        self._path = Path(db_path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        with self._writing() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS uploads ("
                " number INTEGER PRIMARY KEY AUTOINCREMENT, local_dir TEXT NOT NULL,"
                " asset_type TEXT NOT NULL, asset_id TEXT NOT NULL UNIQUE, name TEXT,"
                " experiment_id TEXT, variation INTEGER, run INTEGER, started_at REAL NOT NULL,"
                " ended_at REAL, problem TEXT)"
            )

    def begin(
        self,
        local_dir: Path,
        asset_type: str,
        asset_id: str,
        name: str | None = None,
        experiment_id: str | None = None,
        variation: int | None = None,
        run: int | None = None,
    ) -> None:
        """Note an upload before anything of it is asked for; one that is noted stays as it is."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO uploads (local_dir, asset_type, asset_id, name, experiment_id,"
                " variation, run, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (asset_id) DO NOTHING",
                (str(local_dir.resolve()), asset_type, asset_id, name, experiment_id,
                 variation, run, time.time()),
            )  # fmt: skip

    def end(self, asset_id: str) -> None:
        """The asset is finalized."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE uploads SET ended_at = ?, problem = NULL WHERE asset_id = ?",
                (time.time(), asset_id),
            )

    def fail(self, asset_id: str, problem: str) -> None:
        """Note why an upload did not end; it stays pending."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE uploads SET problem = ? WHERE asset_id = ?", (problem, asset_id)
            )

    def forget(self, asset_id: str) -> None:
        """Take an upload off the list that nobody wants any more."""
        with self._writing() as connection:
            connection.execute("DELETE FROM uploads WHERE asset_id = ?", (asset_id,))

    def get_pending_uploads(self) -> list[PendingUpload]:
        """Those that have not ended, the oldest first."""
        rows = self._connection().execute(
            "SELECT number, local_dir, asset_type, asset_id, name, experiment_id, variation, run,"
            " started_at, problem FROM uploads WHERE ended_at IS NULL ORDER BY number"
        )
        return [PendingUpload(row[0], Path(row[1]), *row[2:]) for row in rows]

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        made: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if made is None:
            made = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            made.execute("PRAGMA journal_mode = WAL")
            self._local.connection = made
        return made

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
