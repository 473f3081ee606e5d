"""Connections that follow the index file: opened on first use, again when it was replaced."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asgard_server.store.sqlite_schema import Identity, IndexFile, is_damage

T = TypeVar("T")


class Link:
    """One thread's connection to the index file.

    The file may be deleted under a running service (it is derived data). SQLite would go on
    with the unlinked one, so before each use the name is looked at again: 2 microseconds.
    """

    def __init__(
        self, file: IndexFile, opened: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        self._file = file
        self._opened = opened
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    def connection(self) -> sqlite3.Connection:
        """The connection to the file as it now is. Raises OSError, sqlite3.Error."""
        if self._connection is None or self._file.identity() != self._identity:
            self.close()
            connection, identity = self._file.connect()
            self._connection, self._identity = connection, identity
            if self._opened is not None:
                self._opened(connection)
        return self._connection

    def discarded(self, error: sqlite3.Error) -> bool:
        """Throw the file away if `error` says that it is damaged; say whether it was.

        The next connection is to a new file, so what failed can be tried again.
        """
        if not is_damage(error):
            return False
        self.close()
        self._file.discard(self._identity)
        return True

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Readers:
    """Threads that read, each with its own connection and one snapshot per job."""

    def __init__(self, file: IndexFile, threads: int, name: str) -> None:
        self._file = file
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._local = threading.local()
        self._links: list[Link] = []

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` in a thread, inside one read transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._job, job)

    def _job(self, job: Callable[[sqlite3.Connection], T]) -> T:
        link: Link | None = getattr(self._local, "link", None)
        if link is None:
            link = self._local.link = Link(self._file)
            self._links.append(link)
        try:
            return _in_snapshot(link.connection(), job)
        except sqlite3.Error as error:
            if link.discarded(error):
                return _in_snapshot(link.connection(), job)
            raise

    def close(self) -> None:
        """Let the threads end and close their connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for link in self._links:
            link.close()


def _in_snapshot(connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return job(connection)
    finally:
        with contextlib.suppress(sqlite3.Error):  # what went wrong before matters, not this
            connection.rollback()
