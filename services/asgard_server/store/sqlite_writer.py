"""The one thread that writes the index: what is waiting becomes one transaction."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from asgard_server.store.sqlite_link import Link
from asgard_server.store.sqlite_schema import IndexFile, begin_session, end_session
from asgard_server.store.sqlite_transaction import Transaction

T = TypeVar("T")

# Jobs that share a commit. Whoever comes while one is being made waits for the next, so a
# lone caller never waits for company.
GROUP = 64


class Committed(NamedTuple):
    """What a job answered, and the head revision after its commit."""

    value: Any
    head: int


class _Waiting(NamedTuple):
    job: Callable[[Transaction], Any]
    future: Future[Committed]


class Writer:
    """Runs jobs inside write transactions, in the order they were submitted."""

    def __init__(self, file: IndexFile, begin: Callable[[sqlite3.Connection], Transaction]) -> None:
        self._file = file
        self._begin = begin
        self._session = ""
        self._link = Link(file, self._start_session)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Transaction], Any]) -> Future[Committed]:
        """Queue a job; its future is done once the transaction it ran in is committed."""
        future: Future[Committed] = Future()
        if self._closed:
            raise RuntimeError("the index is closed")
        self._queue.put(_Waiting(job, future))
        return future

    def close(self) -> None:
        """Finish what is waiting, then end the session."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _start_session(self, connection: sqlite3.Connection) -> None:
        self._session = begin_session(connection, self._file.boot_id)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group: list[_Waiting] = []
            waiting = self._queue.get()
            while waiting is not None:
                group.append(waiting)
                if len(group) == GROUP:
                    break
                try:
                    waiting = self._queue.get_nowait()
                except queue.Empty:
                    break
            stopping = waiting is None
            if group:
                self._serve(group)
        self._end()

    def _serve(self, group: list[_Waiting]) -> None:
        wanted = [one for one in group if one.future.set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            committed = self._commit([one.job for one in wanted])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the future
            if len(wanted) == 1:
                wanted[0].future.set_exception(error)
                return
            # One of them spoilt it for all: nothing is written, so each is tried alone.
            for one in wanted:
                try:
                    one.future.set_result(self._commit([one.job])[0])
                except Exception as own:  # noqa: BLE001 - as above
                    one.future.set_exception(own)
            return
        for one, answer in zip(wanted, committed, strict=True):
            one.future.set_result(answer)

    def _commit(self, jobs: Sequence[Callable[[Transaction], Any]]) -> list[Committed]:
        try:
            return self._in_transaction(jobs)
        except sqlite3.Error as error:
            if self._link.discarded(error):
                return self._in_transaction(jobs)
            raise

    def _in_transaction(self, jobs: Sequence[Callable[[Transaction], Any]]) -> list[Committed]:
        connection = self._link.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            transaction = self._begin(connection)
            values = [job(transaction) for job in jobs]
            head = transaction.finish()
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # what went wrong before matters, not this
                connection.rollback()
            raise
        return [Committed(value, head) for value in values]

    def _end(self) -> None:
        # An index that cannot be closed in order gets a new epoch at most.
        with contextlib.suppress(sqlite3.Error, OSError):
            if self._session:
                end_session(self._link.connection(), self._session)
        self._link.close()
