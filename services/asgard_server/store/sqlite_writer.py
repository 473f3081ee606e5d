"""The one thread that writes the index: what is waiting becomes one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from asgard_server.store.lane import Asked, Handover, answer
from asgard_server.store.log_tail import LogTail
from asgard_server.store.sqlite_link import Link
from asgard_server.store.sqlite_schema import IndexFile, begin_session, end_session
from asgard_server.store.sqlite_transaction import Transaction

# Jobs that share a commit. Whoever comes while one is being made waits for the next, so a
# lone caller never waits for company.
GROUP = 64


class Committed(NamedTuple):
    """What a job answered, and the head revision after its commit."""

    value: Any
    head: int


class Work(NamedTuple):
    """Jobs that came together, and who is told of their outcomes."""

    jobs: Sequence[Callable[[Transaction], Any]]
    tell: Callable[[Sequence[Committed | Exception]], None]


class Ahead(NamedTuple):
    """Work of some `jobs` that the writer's thread makes before it begins the transaction.

    `make` must not raise.
    """

    jobs: Sequence[object]
    make: Callable[[], Work]


class Writer:
    """Runs jobs inside write transactions, in the order they were submitted."""

    def __init__(
        self,
        file: IndexFile,
        begin: Callable[[sqlite3.Connection], Transaction],
        tail: LogTail,
    ) -> None:
        self._file = file
        self._tail = tail
        self._begin = begin
        self._session = ""
        self._link = Link(file, self._start_session)
        self._queue: queue.SimpleQueue[Work | Ahead | None] = queue.SimpleQueue()
        self._handover: Handover[Callable[[Transaction], Any], Committed] = Handover(self._take)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def ask(self, job: Callable[[Transaction], Any]) -> asyncio.Future[Committed]:
        """Queue a job of the loop; its future is done once its transaction is committed."""
        return self._handover.ask(job)

    def submit(self, job: Callable[[Transaction], Any]) -> Future[Committed]:
        """Queue a job of a thread; its future is done once its transaction is committed."""
        future: Future[Committed] = Future()
        self.put(Work([job], lambda outcomes: _fulfil(future, outcomes[0])))
        return future

    def _take(self, asked: list[Asked[Callable[[Transaction], Any], Committed]]) -> None:
        self.put(Work([one.job for one in asked], lambda outcomes: answer(asked, outcomes)))

    def put(self, work: Work | Ahead) -> None:
        """Queue jobs of any thread. Raises RuntimeError once the index is closed."""
        if self._closed:
            raise RuntimeError("the index is closed")
        self._queue.put(work)

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
            group: list[Work | Ahead] = []
            work = self._queue.get()
            while work is not None:
                group.append(work)
                if sum(len(one.jobs) for one in group) >= GROUP or self._queue.empty():
                    break
                work = self._queue.get()
            stopping = work is None
            if group:
                self._serve([one.make() if isinstance(one, Ahead) else one for one in group])
        self._end()

    def _serve(self, group: Sequence[Work]) -> None:
        outcomes = self._outcomes([job for work in group for job in work.jobs])
        first = 0
        for work in group:
            work.tell(outcomes[first : first + len(work.jobs)])
            first += len(work.jobs)

    def _outcomes(
        self, jobs: Sequence[Callable[[Transaction], Any]]
    ) -> list[Committed | Exception]:
        try:
            return list(self._commit(jobs))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            if len(jobs) == 1:
                return [error]
        # One of them spoilt it for all: nothing is written, so each is tried alone.
        return [outcome for job in jobs for outcome in self._outcomes([job])]

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
            transaction.settled()
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # what went wrong before matters, not this
                connection.rollback()
            raise
        self._tail.add(transaction.epoch, transaction.logged)
        return [Committed(value, head) for value in values]

    def _end(self) -> None:
        # An index that cannot be closed in order gets a new epoch at most.
        with contextlib.suppress(sqlite3.Error, OSError):
            if self._session:
                end_session(self._link.connection(), self._session)
        self._link.close()


def _fulfil(future: Future[Committed], outcome: Committed | Exception) -> None:
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
