"""A folder with everything that notices what is done to it, for the tests of that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard_server.feed.memory import MemoryFeed
from asgard_server.run.observe import Observer
from asgard_server.run.scan import Noticer
from asgard_server.run.store import RunRow
from asgard_server.store.folder import FolderDocuments
from asgard_server.store.mounts import index_path
from asgard_server.store.sqlite import SqliteRunIndex
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.ids import new_id


@dataclass
class House:
    """Everything that notices, over one folder."""

    folder: Folder
    documents: FolderDocuments
    index: SqliteRunIndex
    observer: Observer
    noticer: Noticer
    feed: MemoryFeed

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 45.0) -> float:
        """Wait until an awaited condition holds; answer how long that took."""
        began = time.monotonic()
        while not await condition():
            assert time.monotonic() - began < seconds, "it did not happen in time"
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def until_known(self, *run_ids: str, seconds: float = 45.0) -> float:
        async def known() -> bool:
            return all([await self.index.run(one) is not None for one in run_ids])

        return await self.until(known, seconds)

    async def until_gone(self, run_id: str, seconds: float = 45.0) -> float:
        async def gone() -> bool:
            return await self.index.run(run_id) is None

        return await self.until(gone, seconds)

    async def row(self, run_id: str) -> RunRow:
        row = await self.index.run(run_id)
        assert row is not None
        return row

    async def count(self) -> int:
        return (await self.index.list_runs("", None, 1))[1]


@asynccontextmanager
async def house(path: Path, *, network: bool = False) -> AsyncIterator[House]:
    folder = Folder(path, durability="relaxed")
    with ThreadPoolExecutor(4) as pool:
        documents = FolderDocuments(folder, pool, network=network)
        index = await SqliteRunIndex.open(
            index_path(path, folder.storage_id, network=False),
            documents.read_now,
            storage_id=folder.storage_id,
            stamp=documents.stamp_now,
        )
        feed = MemoryFeed()
        observer = Observer(index, feed)
        noticer = Noticer(documents, index, observer)
        running = asyncio.create_task(noticer.run())
        try:
            await asyncio.wait_for(noticer.reconciled(), 20)
            yield House(folder, documents, index, observer, noticer, feed)
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await index.close()


def a_run(name: str = "a run", **fields: Any) -> RunDocument:
    now = datetime.now(UTC)
    return RunDocument(new_id(now), name, now, now, **fields)


def a_result(run: RunDocument) -> ResultDocument:
    now = datetime.now(UTC)
    return ResultDocument(new_id(now), run.id, "Solution1D", {"computed": [1.0]}, now)


def other(path: Path) -> Folder:
    """Another writer's view of the folder."""
    return Folder(path, durability="relaxed")
