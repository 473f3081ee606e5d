"""Runs created in a folder and indexed in SQLite in one go: the port `CreatingAtOnce`.

File, index and answer follow one another in the threads that do the work. Through the event
loop, each step waited for a turn of it: that was half of what a create took among eight callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from gimle.asgard.core.documents import RunDocument, etag
from gimle.asgard.core.folder import CreatedRun, Folder

from asgard_server.run.store import Created, Found, Key
from asgard_server.store.folder import FolderDocuments, modified_at, stamp_of
from asgard_server.store.gathering import Gathering
from asgard_server.store.lane import Asked, answer
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.store.sqlite_transaction import Transaction
from asgard_server.store.sqlite_writer import Ahead, Committed, Work

# How long those who were answered together are given to ask again: a batch of eight costs half
# of what eight cost one by one, and nobody takes the interpreter from whom it serves.
_COMPANY_S = 0.002


class _New(NamedTuple):
    run: RunDocument
    request: bytes | None


_Outcomes = list[Created | Exception]


class FolderCreates:
    """Creates runs without results in `folder`, and knows them in `index`."""

    def __init__(self, folder: Folder, documents: FolderDocuments, index: SqliteRunIndex) -> None:
        self._folder = folder
        self._documents = documents
        self._index = index
        self._creating: Gathering[_New, Created] = Gathering(
            self._create, company_s=_COMPANY_S, returning=True
        )

    async def create_run(self, run: RunDocument, request: bytes | None) -> Created:
        """Write a run, then its row and log entry; keep the digest of its request."""
        with self._index.errors():
            return await self._creating.ask(_New(run, request))

    async def _create(self, batch: Sequence[_New]) -> _Outcomes:
        done: asyncio.Future[_Outcomes] = asyncio.get_running_loop().create_future()
        # Files are written in the index's thread too: they need not reach the disk, or do so
        # together, and another thread would cost them more than it does while they wait.
        self._index.put(Ahead(batch, partial(self._written, Asked(batch, done))))
        return await done

    def _written(self, asked: Asked[Sequence[_New], _Outcomes]) -> Work:
        """Write the files; what the index has to do for those that were written."""
        outcomes: Sequence[CreatedRun | Exception]
        try:
            outcomes = self._folder.create_runs([(new.run, ()) for new in asked.job])
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            outcomes = [error] * len(asked.job)
        jobs = [
            partial(self._job, new, outcome)
            for new, outcome in zip(asked.job, outcomes, strict=True)
            if not isinstance(outcome, Exception)
        ]

        def tell(committed: Sequence[Committed | Exception]) -> None:
            indexed = iter(committed)
            answer(
                [asked],
                [
                    [
                        outcome if isinstance(outcome, Exception) else _created(outcome, indexed)
                        for outcome in outcomes
                    ]
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


def _created(written: CreatedRun, indexed: Iterator[Committed | Exception]) -> Created | Exception:
    committed = next(indexed)
    if isinstance(committed, Exception):
        return committed
    return Created(etag(written.body), committed.head)
