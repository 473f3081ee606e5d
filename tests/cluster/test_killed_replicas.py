"""Replicas of RunService are killed in the middle of saves: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.load import load
from tests.cluster.processes import a_cluster
from tests.cluster.truth import settled
from tests.cluster.watchers import all_saw_everything, watchers

pytestmark = pytest.mark.timeout(1800)  # on a busy machine

CALLERS = 6
# 500 where there is time for it (make soak).
WRITES_A_ROUND = int(os.environ.get("TESTS_WRITES", "100"))


async def test_a_killed_replica_loses_no_write_and_no_watcher_an_event(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random, rounds: int
) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(a_cluster(tmp_path, replicas=2, **engines))
        stubs = [await stack.enter_async_context(cluster.stub(each)) for each in cluster.replicas]
        watching = await stack.enter_async_context(watchers(20, cluster.gateway.url))
        async with load(stubs, callers=CALLERS, seed=chance.randrange(2**32)) as saving:
            for round_ in range(rounds):
                victim = chance.choice(cluster.replicas)
                await asyncio.sleep(chance.uniform(0.05, 0.5))
                await victim.kill()
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                await victim.start()
                await saving.until(WRITES_A_ROUND * (round_ + 1))
                print(f"round {round_}: {saving.acknowledged} acknowledged")
        print(
            f"{saving.acknowledged} acknowledged, {saving.repeated} tried again,"
            f" the slowest took {saving.slowest:.1f} s"
        )
        assert saving.repeated, "nobody was hit"
        truth = await settled(cluster, engines["s3"])
        saving.check(truth)
        await all_saw_everything(watching, truth.log)
