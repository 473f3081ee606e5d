"""Replicas of a service over one prefix of a bucket, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard_server.feed.memory import MemoryFeed
from asgard_server.run.observe import Observer
from asgard_server.run.scan import Noticer
from asgard_server.run.store import Key
from asgard_server.store import s3_finishing
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.postgres_ledger import PostgresLedger
from asgard_server.store.s3 import S3Documents
from gimle.asgard.core.documents import ResultDocument, RunDocument, decode_run
from gimle.asgard.core.ids import new_id
from gimle.asgard.core.s3.bucket import Bucket
from gimle.asgard.core.s3.place import Place

from tests.contract.document_places import STORES, place_in
from tests.engines import postgres


def a_run(**fields: Any) -> RunDocument:
    """A new run."""
    now = datetime.now(UTC)
    return replace(RunDocument(new_id(now), "run", now, now), **fields)


def a_result(run_id: str, **data: Any) -> ResultDocument:
    """A new result of a run."""
    now = datetime.now(UTC)
    return ResultDocument(new_id(now), run_id, "Solution1D", data or {"computed": [1.0]}, now)


@dataclass(frozen=True)
class Replica:
    """One process of a service, but for the process."""

    documents: S3Documents
    ledger: PostgresLedger
    index: PostgresRunIndex
    observer: Observer

    def noticer(self) -> Noticer:
        """What notices others, five times a second."""
        return Noticer(self.documents, self.index, self.observer, look_every=0.2)

    async def create(self, run: RunDocument, results: Sequence[ResultDocument] = ()) -> None:
        """Create a run as the service does."""
        await self.documents.create_run(run, results)
        keys = [Key("result", result.id) for result in results]
        await self.observer.observe(*keys, Key("run", run.id))

    async def add(self, result: ResultDocument) -> int:
        """Add a result as the service does; answer the revision."""
        return await self.observer.observe(*await self.documents.add_result(result))

    async def run(self, run_id: str) -> RunDocument:
        """A run as its document says."""
        found = await self.documents.read(Key("run", run_id))
        assert found is not None
        return decode_run(found.body, run_id)


class Cluster:
    """A prefix, a database, and the replicas that were opened over them."""

    def __init__(self, store: Any, folder: Path) -> None:
        self.store = store
        self.place: Place = place_in(store)
        self.folder = folder
        self.replicas: list[Replica] = []

    async def replica(self, *, list_every_s: float = 0.2) -> Replica:
        """Open another replica."""
        dsn = await postgres.database_of(self.folder)
        name = f"replica-{len(self.replicas)}"
        ledger = await PostgresLedger.open(dsn, replica=name, connections=3)
        documents = await S3Documents.open(
            self.place, ledger, cache=self.folder / name, list_every_s=list_every_s
        )
        index = await PostgresRunIndex.open(
            dsn,
            documents.read,
            storage_id=documents.storage_id or "",
            stamp=documents.stamp,
            written=documents.written,
            connections=3,
        )
        opened = Replica(documents, ledger, index, Observer(index, MemoryFeed()))
        self.replicas.append(opened)
        return opened

    async def close(self) -> None:
        """Close all replicas."""
        for one in self.replicas:
            await one.documents.close()
            await one.index.close()
            await one.ledger.close()
        postgres.give_back(self.folder)

    def library(self) -> Bucket:
        """The place as somebody uses it without a service."""
        return Bucket(self.place)

    async def keys(self, folder: str) -> list[str]:
        """The objects in a folder of the place."""
        start = self.place.key(f"{folder}/")
        keys = await asyncio.to_thread(self.store.keys, self.place.bucket, start)
        return [key[len(start) :] for key in keys]


@asynccontextmanager
async def cluster(store: str | Any, folder: Path) -> AsyncIterator[Cluster]:
    """A cluster over a store, or one by its name."""
    opened = Cluster(STORES[store]() if isinstance(store, str) else store, folder)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def running(*works: Any) -> AsyncIterator[None]:
    """Run coroutines until the block ends; what one raises is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def never_lists(replica: Replica) -> Replica:
    """A replica that dies before it comes to the lists of runs."""
    replica.documents._lists.add = lambda run_id, result_id=None: None  # type: ignore[method-assign]
    return replica


def hurried(replica: Replica, dead_after_s: float = 0.3) -> None:
    """Let a replica take others for dead soon."""
    replica.documents._finisher._dead_after_s = dead_after_s
    s3_finishing.LOOKS_EVERY_S = 0.1


async def eventually(what: Any, within_s: float = 60.0) -> None:
    """Wait until an awaitable condition holds."""
    end = asyncio.get_running_loop().time() + within_s
    while not await what():
        assert asyncio.get_running_loop().time() < end, "it never came true"
        await asyncio.sleep(0.05)


def ids(results: Iterable[ResultDocument]) -> set[str]:
    """Their ids."""
    return {result.id for result in results}
