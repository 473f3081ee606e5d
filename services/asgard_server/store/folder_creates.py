"""Runs created in a folder and indexed in SQLite in one go: the port `CreatingAtOnce`.

File, index and answer follow one another in the threads that do the work. Through the event
loop, each step waited for a turn of it: that was half of what a create took among eight callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gimle.asgard.core.documents import RunDocument, etag
from gimle.asgard.core.folder import CreatedRun, Folder

from asgard_server.run.store import Created, Found, Key
from asgard_server.store.folder import FolderDocuments, modified_at, stamp_of
from asgard_server.store.lane import Asked, Handover, answer
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.store.sqlite_transaction import Transaction
from asgard_server.store.sqlite_writer import Ahead, Committed, Work

# How long those who were answered together are given to ask again. A commit costs 90 us alone
# and 23 for each of eight; with this the bar of eight callers went from 0.29 to 0.43 of an echo.
_PATIENCE_S = 0.002


class _New(NamedTuple):
    run: RunDocument
    request: bytes | None


_Asked = Asked[_New, Created]


class FolderCreates:
    """Creates runs without results in `folder`, and knows them in `index`."""

    def __init__(self, folder: Folder, documents: FolderDocuments, index: SqliteRunIndex) -> None:
        self._folder = folder
        self._documents = documents
        self._index = index
        # Files are written in the index's thread too: they need not reach the disk, or do so
        # together, and another thread would cost them more than it does while they wait.
        self._handover: Handover[_New, Created] = Handover(self._take, _PATIENCE_S)

    async def create_run(self, run: RunDocument, request: bytes | None) -> Created:
        """Write a run, then its row and log entry; keep the digest of its request."""
        with self._index.errors():
            return await self._handover.ask(_New(run, request))

    def _take(self, asked: list[_Asked]) -> None:
        self._index.put(Ahead(asked, partial(self._written, asked)))

    def _written(self, asked: Sequence[_Asked]) -> Work:
        try:
            outcomes = self._folder.create_runs([(one.job.run, ()) for one in asked])
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            answer(asked, [error] * len(asked))
            return Work((), lambda committed: None)
        return self._work(asked, outcomes)

    def _work(self, asked: Sequence[_Asked], outcomes: Sequence[CreatedRun | Exception]) -> Work:
        """What the index has to do for those that were written. The others are answered."""
        written: list[_Asked] = []
        names: list[str] = []
        jobs: list[Callable[[Transaction], None]] = []
        for one, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Exception):
                answer([one], [outcome])
                continue
            written.append(one)
            names.append(etag(outcome.body))
            jobs.append(partial(self._job, one.job, outcome))

        def tell(committed: Sequence[Committed | Exception]) -> None:
            answer(
                written,
                [
                    each if isinstance(each, Exception) else Created(name, each.head)
                    for name, each in zip(names, committed, strict=True)
                ],
            )

        return Work(jobs, tell)

    def _job(self, new: _New, created: CreatedRun, transaction: Transaction) -> None:
        key = Key("run", new.run.id)
        stat = created.stat
        ours = Found(created.body, stamp_of(stat), modified_at(stat), new.run)
        transaction.observe(key, partial(self._documents.read_ours, key, ours))
        if new.request is not None:
            transaction.remember(key, new.request)
