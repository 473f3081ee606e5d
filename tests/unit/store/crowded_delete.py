"""A delete on a full disk whose room is taken at once: run where that disk is mounted.

    python -m tests.unit.store.crowded_delete DISK

Not in the process of the tests: from without, SQLite does not find its way onto the disk. Ends
with status 0 when it was indexed as soon as there was room for it, and not before.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from asgard_server.run.store import Key
from gimle.asgard.core.errors import StorageFullError

from tests.engines.small_disk import SmallDisk
from tests.unit.store.folder_house import House, a_result, a_run, house

PATIENCE_S = 60.0


async def delete(at: House, disk: SmallDisk, key: Key) -> None:
    """Delete as the service does, while somebody takes all the room that there is."""
    disk.fill()
    await at.documents.delete(key)
    disk.fill()
    await at.observer.deleted(key)


async def some_runs(at: House, count: int) -> list[Key]:
    """Runs with a result each, indexed."""
    keys = []
    for _ in range(count):
        run = a_run()
        result = a_result(run)
        await at.documents.create_run(run, [result])
        await at.observer.observe(Key("result", result.id), key := Key("run", run.id))
        keys.append(key)
    return keys


async def looked_for(disk: SmallDisk) -> None:
    """A look and a scan both find that a document is gone: it is told of once."""
    async with house(disk.path / "looked-for") as at:
        kept, key = await some_runs(at, 2)
        _, head = await at.index.head()
        await delete(at, disk, key)
        try:
            await at.observer.observe(key)
        except StorageFullError:
            pass
        else:
            raise AssertionError("there was room")
        assert await at.documents.read(key) is None
        assert await at.index.run(key.id) is not None
        disk.make_room()
        await at.until_gone(key.id, PATIENCE_S)
        assert await at.index.run(kept.id) is not None
        told = [change.key for change in await at.index.changes(head, 1_000) if change.gone]
        assert [each for each in told if each.kind == "run"] == [key], told
        assert len(told) == 2, told

        async def well() -> bool:
            return at.noticer.problem is None

        await at.until(well, PATIENCE_S)


async def without_a_scan(disk: SmallDisk) -> None:
    """A scan of other places than folders comes once in an hour: nobody waits for it."""
    async with house(disk.path / "without-a-scan") as at:
        (key,) = await some_runs(at, 1)
        at.noticer._is_due = lambda pulse: False  # type: ignore[method-assign]
        await delete(at, disk, key)
        assert await at.index.run(key.id) is not None
        disk.make_room()
        await at.until_gone(key.id, PATIENCE_S)


if __name__ == "__main__":
    here = SmallDisk(Path(sys.argv[1]), Path(sys.argv[1]), os.getpid())
    asyncio.run(looked_for(here))
    asyncio.run(without_a_scan(here))
