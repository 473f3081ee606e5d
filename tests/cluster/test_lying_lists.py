"""Listings that break off, leave out half, or are empty: nothing is believed deleted."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.cluster.faulty_store import Fault, faulty
from tests.cluster.load import Load
from tests.cluster.processes import Replica, a_cluster, eventually
from tests.cluster.truth import settled, truth
from tests.cluster.watchers import all_saw_everything, watchers

pytestmark = pytest.mark.timeout(300)  # on a busy machine

RUNS = 20
FAULTS: tuple[Fault, ...] = ("half", "short", "gone")


async def test_what_a_listing_leaves_out_is_not_believed_deleted(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(faulty(engines["s3"]))
        # A replica that stays, and one that lists everything because it starts.
        cluster = await stack.enter_async_context(
            a_cluster(tmp_path, replicas=2, **engines | {"s3": store})
        )
        staying, starting = cluster.replicas
        stub = await stack.enter_async_context(cluster.stub(staying))
        watching = await stack.enter_async_context(watchers(5, cluster.gateway.url))
        saving = Load([stub], chance.randrange(2**32))
        for number in range(RUNS):
            await saving.call("CreateRun", pb.CreateRunRequest(run_id=f"r{number}", name="n"))
            saving.names[f"r{number}"] = "n"
            await saving.add(f"r{number}")
        before = await settled(cluster, store)
        saving.check(before)

        for fault in FAULTS:
            await starting.kill()
            store.fault, store.lies = fault, 0
            starting.launch()

            async def lied_to() -> bool:
                return store.lies > 2

            await eventually(lied_to, 30, what=f"that it is told a lie ({fault})")
            if fault == "gone":
                # Those who serve notice it too, and say so; what they are asked they refuse.
                await eventually(partial(_is, staying, "NOT_SERVING"), what="NOT_SERVING")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.CreateRun(pb.CreateRunRequest(run_id="nowhere", name="n"), timeout=5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await asyncio.sleep(3.0)
            during = await truth(cluster, store)
            assert during.rows == before.rows, f"what was not listed ({fault}) was forgotten"
            assert not [entry for entry in during.log if entry.gone]
            store.fault = ""
            if not starting.alive:  # it may refuse to start on a place that is not there
                starting.launch()
            await starting.ready()
            await eventually(partial(_is, staying, "SERVING"), what="SERVING")

        # And nothing was done because of it later, either.
        await saving.add("r0")
        after = await settled(cluster, store)
        saving.check(after)
        assert not [entry for entry in after.log if entry.gone]
        await all_saw_everything(watching, after.log)


async def _is(replica: Replica, health: str) -> bool:
    return await replica.health() == health
