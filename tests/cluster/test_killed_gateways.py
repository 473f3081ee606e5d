"""Gateways are killed under their browsers, which come back with the last id they have seen."""

from __future__ import annotations

import asyncio
import random
import statistics
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.load import load
from tests.cluster.processes import a_cluster
from tests.cluster.truth import settled
from tests.cluster.watchers import all_saw_everything, watchers

pytestmark = pytest.mark.timeout(300)  # on a busy machine

BROWSERS = 200
DEATHS = 3


async def test_browsers_of_a_killed_gateway_come_back_and_have_missed_nothing(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(a_cluster(tmp_path, **engines))
        stub = await stack.enter_async_context(cluster.stub())
        watching = await stack.enter_async_context(watchers(BROWSERS, cluster.gateway.url))
        async with load([stub], callers=2, seed=chance.randrange(2**32)) as saving:
            for _ in range(DEATHS):
                await asyncio.sleep(chance.uniform(0.2, 1.5))
                await cluster.gateway.kill()
                # Changes that no gateway has heard of are caught up from the log.
                await asyncio.sleep(chance.uniform(0.0, 1.0))
                await cluster.gateway.start()
        truth = await settled(cluster, engines["s3"])
        saving.check(truth)
        await all_saw_everything(watching, truth.log)
        connections = [watcher.connections for watcher in watching]
        print(
            f"{saving.acknowledged} writes, {truth.head} changes; connections of a browser:"
            f" {statistics.mean(connections):.1f}"
        )
        assert min(connections) > DEATHS
