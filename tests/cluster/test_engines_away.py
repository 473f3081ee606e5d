"""Redis, PostgreSQL and the object store go away in the middle of saves, and come back."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio

from tests.cluster.load import Load, load
from tests.cluster.processes import Cluster, a_cluster
from tests.cluster.truth import settled
from tests.cluster.watchers import Watcher, all_saw_everything, watchers
from tests.engines import postgres

pytestmark = pytest.mark.timeout(300)  # on a busy machine

AWAY_S = 5.0


class Scene(NamedTuple):
    """Two replicas, one gateway, who saves and who watches."""

    cluster: Cluster
    saving: Load
    watching: list[Watcher]


@asynccontextmanager
async def a_scene(
    folder: Path, engines: dict[str, Any], chance: random.Random
) -> AsyncIterator[Scene]:
    """Savers and watchers at work; at the end everything acknowledged is there and seen."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(a_cluster(folder, replicas=2, **engines))
        stubs = [await stack.enter_async_context(cluster.stub(each)) for each in cluster.replicas]
        watching = await stack.enter_async_context(watchers(20, cluster.gateway.url))
        async with load(stubs, callers=4, seed=chance.randrange(2**32)) as saving:
            await saving.until(100)
            yield Scene(cluster, saving, watching)
            await saving.until(saving.acknowledged + 100)
        print(
            f"{saving.acknowledged} acknowledged, {saving.repeated} tried again,"
            f" the slowest took {saving.slowest:.1f} s"
        )
        truth = await settled(cluster, engines["s3"])
        saving.check(truth)
        await all_saw_everything(watching, truth.log)
        for replica in cluster.replicas:
            assert replica.alive, replica.said()


async def test_without_redis_saves_and_watchers_go_on_and_with_it_they_are_quick_again(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as scene:
        server = scene.cluster.redis
        assert server is not None
        await asyncio.to_thread(server.stop)
        before, gone = scene.saving.acknowledged, time.monotonic()
        while time.monotonic() - gone < AWAY_S:
            await asyncio.sleep(0.5)
            # Watchers are not waiting for Redis: they hear of what is saved meanwhile.
            at = scene.watching[0].at
            await scene.watching[0].reach(at + 1, 5.0)
        assert scene.saving.acknowledged > before + 20
        assert not scene.saving.repeated, "a save failed for want of a bell"
        await asyncio.to_thread(server.start)
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.flushall()
            await asyncio.sleep(1.0)
            await client.flushall()
        await asyncio.to_thread(server.stop, signal.SIGTERM)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(1.0)
        assert not scene.saving.repeated


async def test_postgresql_that_crashes_and_comes_back_loses_nothing(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as scene:
        server = postgres.server()
        for how in (signal.SIGQUIT, signal.SIGINT):
            await asyncio.to_thread(server.stop, how)
            await asyncio.sleep(chance.uniform(0.0, 2.0))
            await asyncio.to_thread(server.start)
            await scene.saving.until(scene.saving.acknowledged + 100)
        assert scene.saving.repeated, "nobody was hit"


async def test_an_object_store_that_stops_in_the_middle_of_saves_loses_none(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as scene:
        store = engines["s3"]
        await asyncio.to_thread(store.stop, signal.SIGKILL)
        at = scene.saving.acknowledged
        await asyncio.sleep(AWAY_S)
        # What was in flight may have been done; nothing new is acknowledged that is nowhere.
        assert scene.saving.acknowledged <= at + 4
        await asyncio.to_thread(store.start)
        await scene.saving.until(at + 100)
        # The replicas waited for it, and nobody had to be told that it was away.
        assert scene.saving.slowest > AWAY_S - 1, "nobody was hit"
