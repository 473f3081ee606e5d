"""The SQLite database of what SQL is the truth of, in one process: one writer, some readers.

Not the index of documents (sqlite.py), which may be thrown away: this file is data. Its schema
is brought up to this release when it is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gimle.asgard.core.errors import StorageFullError, StorageUnavailableError

from asgard_server.store.lane import Lane
from asgard_server.store.sqlite_room import is_for_want_of_room

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]

MIGRATIONS = Path(__file__).parent / "migrations" / "sqlite"
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_READERS = 2
_BUSY_SECONDS = 5.0


class SqliteDatabase:
    """A database file. Jobs are functions of a connection, run in threads.

    Writing jobs that wait share a transaction; each of them is all or nothing. Methods raise
    `StorageUnavailableError`, `StorageFullError`, and what the job raises. One that is made only
    when it is written reads as an empty one until then.
    """

    def __init__(self, path: Path, *, when_written: bool = False) -> None:
        self._path = path
        self._awaited = when_written
        self._writing = ThreadPoolExecutor(1, "asgard-sql-write")
        self._reading = ThreadPoolExecutor(_READERS, "asgard-sql-read")
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lane: Lane[Job, Any] = Lane(self._writing, self._write)

    @classmethod
    async def open(cls, path: Path, *, when_written: bool = False) -> SqliteDatabase:
        """Open the file, or make it, and bring its schema up to this release.

        `when_written`: a file that is not there is made by whoever writes first. Raises
        `StorageUnavailableError`, also for a file that a newer release has written.
        """
        database = cls(path, when_written=when_written)
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(database._writing, database._begin)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Finish what is waiting, and close all connections."""
        await asyncio.to_thread(self._end)

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job in a transaction; it is on disk when this returns."""
        answer: T = await self._lane.ask(job)
        return answer

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job that sees one moment of the database."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, job)

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        with self._speaking():
            connection = self._empty() if self._is_awaited() else self._connection()
            connection.execute("BEGIN")
            try:
                return job(connection)
            finally:
                connection.rollback()

    def _write(self, jobs: Sequence[Job]) -> list[Any]:
        with self._speaking():
            if self._awaited:
                self._migrate()
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                answers = [_alone(connection, job) for job in jobs]
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            return answers

    def _connection(self) -> sqlite3.Connection:
        made: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if made is None:
            made = sqlite3.connect(
                self._path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # closed by the thread that ends them all
            )
            self._open.append(made)
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = FULL")
            made.execute("PRAGMA foreign_keys = ON")
            self._local.connection = made
        return made

    def _begin(self) -> None:
        if not self._is_awaited():
            self._migrate()

    def _is_awaited(self) -> bool:
        """Whether there is no file yet, or somebody is just making it."""
        if self._awaited and self._path.exists():
            with contextlib.closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as made:
                (version,) = made.execute("PRAGMA user_version").fetchone()
            self._awaited = not version
        return self._awaited

    def _empty(self) -> sqlite3.Connection:
        """What a reader sees of a file that is not there yet: all tables, without a row."""
        made: sqlite3.Connection | None = getattr(self._local, "empty", None)
        if made is None:
            made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._open.append(made)
            self._apply(made)
            self._local.empty = made
        return made

    def _migrate(self) -> None:
        with self._speaking():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._apply(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            self._awaited = False

    def _apply(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        steps = _steps()
        if version > len(steps):
            raise StorageUnavailableError(
                str(self._path),
                f"a newer release has written it (schema {version}, this one knows {len(steps)}):"
                " install that release",
            )
        for step in steps[version:]:
            for statement in _statements(step.read_text()):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(steps)}")

    def _end(self) -> None:
        self._writing.shutdown(wait=True)
        self._reading.shutdown(wait=True)
        for connection in self._open:
            connection.close()

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if is_for_want_of_room(error, self._path):
                raise StorageFullError(str(self._path)) from error
            raise StorageUnavailableError(
                str(self._path), f"{error}; check its disk and permissions"
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise StorageUnavailableError(
                str(self._path), f"{error}; restore it from a backup"
            ) from error


def _alone(connection: sqlite3.Connection, job: Job) -> Any:
    """One job of a transaction: what it raises undoes it alone, and is its answer."""
    connection.execute("SAVEPOINT job")
    try:
        answer = job(connection)
    except sqlite3.OperationalError:
        raise  # the disk's or the file's business: all of them fail
    except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return error
    connection.execute("RELEASE job")
    return answer


def _steps() -> list[Path]:
    steps = sorted(MIGRATIONS.glob("*.sql"))
    for number, step in enumerate(steps, 1):
        name = _NAME.fullmatch(step.name)
        if name is None or int(name[1]) != number:
            raise ValueError(f"{step.name} is not migration {number:04}")
    return steps


def _statements(script: str) -> Iterator[str]:
    """The statements of a script: `executescript` would commit the transaction first."""
    waiting = ""
    for line in script.splitlines(keepends=True):
        waiting += line
        if sqlite3.complete_statement(waiting):
            yield waiting
            waiting = ""
