"""The clock of one replica is set back while it works: nothing is lost, nothing out of order."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.cluster.load import load
from tests.cluster.processes import a_cluster, eventually
from tests.cluster.truth import settled
from tests.cluster.watchers import all_saw_everything, watchers
from tests.engines.faketime import Clock

# Less than the 15 minutes within which an object store believes a signature.
BACK_S = -600

pytestmark = pytest.mark.timeout(300)  # on a busy machine


async def test_a_clock_set_back_changes_no_order_and_loses_no_change(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    clock = Clock(tmp_path / "clock")
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            a_cluster(tmp_path, replicas=2, started=False, **engines)
        )
        wrong, right = cluster.replicas
        wrong.environ |= clock.environ
        for process in cluster.processes:
            process.launch()
        for process in cluster.processes:
            await process.ready()
        await cluster.indexed()
        stubs = [await stack.enter_async_context(cluster.stub(each)) for each in (wrong, right)]
        watching = await stack.enter_async_context(watchers(20, cluster.gateway.url))
        async with load(stubs, callers=4, seed=chance.randrange(2**32)) as saving:
            await saving.until(200)
            before = await stubs[0].CreateRun(pb.CreateRunRequest(name="before"))
            saving.names[before.run.run_id] = "before"
            clock.set(BACK_S)
            await asyncio.sleep(0.5)
            after = await stubs[0].CreateRun(pb.CreateRunRequest(name="after"))
            saving.names[after.run.run_id] = "after"
            ahead = before.run.create_time.ToDatetime() - after.run.create_time.ToDatetime()
            assert 500 < ahead.total_seconds() < 700, "the clock was not set back"
            # A change is later than what it changes, whatever the clock says.
            changed = await stubs[0].UpdateRun(
                pb.UpdateRunRequest(run_id=before.run.run_id, name="changed")
            )
            saving.names[before.run.run_id] = "changed"
            assert changed.run.update_time.ToDatetime() >= before.run.update_time.ToDatetime()
            await saving.until(saving.acknowledged + 300)
            clock.set(0)
            await saving.until(saving.acknowledged + 200)
        assert wrong.alive, wrong.said()
        truth = await settled(cluster, engines["s3"])
        saving.check(truth)
        await all_saw_everything(watching, truth.log)
        for (kind, id), document in truth.documents.items():
            if kind == "run":
                made, last = (datetime.fromisoformat(document[k]) for k in TIMES)
                assert last >= made, id

        async def alike() -> bool:
            listed = [await stub.ListRuns(pb.ListRunsRequest(page_size=1000)) for stub in stubs]
            return bool(listed[0] == listed[1])

        await eventually(alike, what="that both list alike")


TIMES = ("created_at", "updated_at")
