"""The SQLite file of the index: its tables, how it is made, opened and thrown away.

The file holds derived data only. Whatever is wrong with it (another schema, another
storage, damage) is mended by making it anew, and its documents are read again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError

from asgard_server.run.store import Kind
from asgard_server.store.sqlite_room import is_for_want_of_room

SCHEMA_VERSION = 4

TABLE: dict[Kind, str] = {"run": "runs", "result": "results"}

# Tables that are not made from documents: what was begun in an object store and not finished.
LEDGER = ("writes", "deletions")

# Times are whole microseconds since 1970, UTC. `place` orders runs by time roughly, so that
# FTS5, which can only order by rowid, yields the newest first (see sqlite_places.place_of).
# `text` is folded already; a contentless FTS table keeps no second copy of it. Adding to it
# costs 150 us in a commit of its own and 25 us among hundreds, so places in `late` are not
# in `words` yet: a search looks at their texts instead. `readers` is a JSON list of who may read a
# run, NULL where that is whoever is identified; `run_readers` finds the runs of each of them.
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (token TEXT PRIMARY KEY, boot TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE log_head (
  one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, runs INTEGER NOT NULL
);
INSERT INTO log_head VALUES (1, 0, 0);
CREATE TABLE log (
  revision INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, run_id TEXT NOT NULL,
  gone INTEGER NOT NULL, at INTEGER NOT NULL, readers_before TEXT, readers_after TEXT
);
CREATE TABLE runs (
  place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sorted_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL, result_count INTEGER NOT NULL, changed_at INTEGER NOT NULL,
  noticed_at INTEGER NOT NULL, digest BLOB NOT NULL, stamp TEXT NOT NULL, readers TEXT,
  document BLOB NOT NULL
);
CREATE INDEX runs_by_time ON runs (sorted_at, id);
CREATE INDEX runs_of_everybody ON runs (sorted_at, id) WHERE readers IS NULL;
CREATE TABLE run_readers (
  principal TEXT NOT NULL, sorted_at INTEGER NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (principal, sorted_at, id)
) WITHOUT ROWID;
CREATE TABLE texts (place INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(
  text, content='', columnsize=0, tokenize='trigram case_sensitive 1'
);
CREATE TABLE late (place INTEGER PRIMARY KEY);
CREATE TABLE results (
  id TEXT NOT NULL PRIMARY KEY, run_id TEXT NOT NULL, sorted_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, noticed_at INTEGER NOT NULL,
  digest BLOB NOT NULL, stamp TEXT NOT NULL, result_type TEXT NOT NULL, display BLOB NOT NULL
);
CREATE INDEX results_by_run ON results (run_id, sorted_at, id);
CREATE TABLE unreadable (
  kind TEXT NOT NULL, id TEXT NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE tombstones (
  kind TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE requests (
  kind TEXT NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE writes (
  token TEXT PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, run_id TEXT NOT NULL,
  at REAL NOT NULL, files TEXT NOT NULL, lists INTEGER NOT NULL, observed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX writes_by_run ON writes (run_id);
CREATE TABLE deletions (
  kind TEXT NOT NULL, id TEXT NOT NULL, run_id TEXT NOT NULL, results TEXT NOT NULL,
  files TEXT NOT NULL, at REAL NOT NULL, done INTEGER NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
"""


Identity = tuple[int, int]


class IndexFile:
    """Where the index lies, and for which storage.

    `connect` makes the file when it is not there and replaces one that is of no use.
    Several threads and processes may do so at once: they meet in the same file.
    """

    def __init__(self, path: Path, storage_id: str, boot_id: str | None = None) -> None:
        self.path = path
        self.storage_id = storage_id
        self.boot_id = read_boot_id() if boot_id is None else boot_id

    def identity(self) -> Identity | None:
        """Device and inode of the file that lies there now, None when there is none."""
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino

    def connect(self) -> tuple[sqlite3.Connection, Identity]:
        """Open the index, made anew if need be, and say which file was opened.

        Raises OSError or sqlite3.Error when that is impossible.
        """
        while True:
            with self._lock():
                before = self.identity()
                if before is not None:
                    found = self._open()
                    if self._usable(found) and self.identity() == before:
                        return found, before
                    found.close()
                # Somebody may delete the folder at any moment, so make and look again.
                if self.identity() == before:
                    self._make()

    def discard(self, damaged: Identity | None) -> None:
        """Throw the index away unless somebody has; the next to connect makes it anew."""
        with self._lock():
            if self.identity() == damaged:
                self.path.unlink(missing_ok=True)

    def renew(self) -> None:
        """Make the index anew, with what the ledger says: that no document can tell again."""
        with self._lock():
            kept: dict[str, list[tuple[object, ...]]] = {}
            if self.identity() is not None:
                with contextlib.closing(self._open()) as found:
                    if self._usable(found):
                        for table in LEDGER:
                            rows = found.execute(f"SELECT * FROM {table}")  # noqa: S608 - ours
                            kept[table] = rows.fetchall()
            self._make(kept)

    def _usable(self, connection: sqlite3.Connection) -> bool:
        try:
            # NORMAL: a commit survives the end of the process, not that of the machine; after
            # that a new epoch begins, and everything can be read from the documents again.
            for pragma in (
                "journal_mode = WAL",
                "synchronous = NORMAL",
                "cache_size = -8000",
                "wal_autocheckpoint = 4000",
                "temp_store = MEMORY",
            ):
                connection.execute(f"PRAGMA {pragma}")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                return False
            rows = connection.execute("SELECT value FROM meta WHERE key = 'storage_id'").fetchall()
            return bool(rows == [(self.storage_id,)])
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return False
            connection.close()
            raise

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=10.0,
            # Each connection is used by one thread; the thread that closes them is another.
            check_same_thread=False,
            cached_statements=256,
        )

    def _make(self, kept: Mapping[str, Sequence[tuple[object, ...]]] | None = None) -> None:
        fresh = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            # Fewer, larger segments while a rebuild fills the table.
            connection.execute("INSERT INTO words (words, rank) VALUES ('hashsize', 40000000)")
            connection.execute("INSERT INTO words (words, rank) VALUES ('automerge', 16)")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("storage_id", self.storage_id), ("epoch", new_epoch()), ("state", "building")],
            )
            for table, rows in (kept or {}).items():
                for row in rows:
                    values = ", ".join("?" * len(row))
                    connection.execute(f"INSERT INTO {table} VALUES ({values})", row)  # noqa: S608
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        finally:
            connection.close()
        # What an index of the same name left behind would be replayed into the new one.
        for leftover in ("-wal", "-shm"):
            self.path.with_name(self.path.name + leftover).unlink(missing_ok=True)
        os.replace(fresh, self.path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        while True:
            # Beside the documents only where they are: a storage that went away (a volume that
            # is not mounted) must not be made anew, empty, in its place.
            beside = self.path.parent.name == ".asgard"
            self.path.parent.mkdir(parents=not beside, exist_ok=True)
            lock = self.path.with_suffix(".lock")
            try:
                handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:  # the folder went away in between
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.fstat(handle).st_ino == os.stat(lock).st_ino:
                        yield
                        return
            finally:
                os.close(handle)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is broken, rather than busy or misused."""
    # SQLITE_CORRUPT and SQLITE_NOTADB are the ones reported by the plain class.
    return type(error) is sqlite3.DatabaseError


@contextlib.contextmanager
def errors_of_the_port(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say about the index file into the port's errors."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if is_for_want_of_room(error, path):
            raise StorageFullError(str(path)) from error
        if is_damage(error):
            mend = "its index was damaged and is being rebuilt; try again"
        elif isinstance(error, sqlite3.OperationalError):
            mend = f"its index cannot be used ({error}); check disk and permissions"
        else:
            raise
        raise StorageUnavailableError(str(path), mend) from error
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if isinstance(error, AsgardError):
            raise
        mend = f"its index cannot be opened ({error.strerror}); check disk and permissions"
        raise StorageUnavailableError(str(path), mend) from error


def new_epoch() -> str:
    """Make the name of an epoch: revisions of two epochs have nothing to do with each other."""
    return secrets.token_hex(8)


def read_boot_id() -> str:
    """Identify this boot of the machine; a new word each time where it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return secrets.token_hex(8)


def begin_session(connection: sqlite3.Connection, boot_id: str) -> str:
    """Register a user of the index; answer the word that ends the session.

    A session of another boot that was never ended may have lost its last commits with the
    power, so a new epoch begins.
    """
    token = secrets.token_hex(8)
    connection.execute("BEGIN IMMEDIATE")
    lost = connection.execute("DELETE FROM sessions WHERE boot != ?", (boot_id,)).rowcount
    if lost:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (new_epoch(),))
    connection.execute("INSERT INTO sessions VALUES (?, ?)", (token, boot_id))
    connection.execute("COMMIT")
    return token


def end_session(connection: sqlite3.Connection, token: str) -> None:
    """Say that everything committed so far has reached the disk."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("DELETE FROM sessions WHERE token = ?", (token,))
