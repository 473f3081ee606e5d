"""Listings that break off, leave out half, or are empty: nothing is believed deleted."""

from __future__ import annotations

import random
from collections.abc import Sequence
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
        cluster = await stack.enter_async_context(
            a_cluster(tmp_path, replicas=2, **engines | {"s3": store})
        )
        staying = cluster.replicas[0]
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
            # One of those who start has the turn, and lists everything.
            starting = cluster.replicas[1:] if fault == "gone" else cluster.replicas
            if fault == "gone":
                await eventually(partial(_is_back, staying), 60, what="SERVING")
            for replica in starting:
                await replica.kill()
            store.fault, store.lies = fault, 0
            behind = [len(replica.said()) for replica in cluster.replicas]
            for replica in starting:
                replica.launch()

            async def lied_to() -> bool:
                return store.lies > 2

            await eventually(lied_to, 30, what=f"that it is told a lie ({fault})")
            if fault == "gone":
                # Those who serve notice it too, and say so; what they are asked they refuse.
                await eventually(partial(_is, staying, "NOT_SERVING"), what="NOT_SERVING")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.CreateRun(pb.CreateRunRequest(run_id="nowhere", name="n"), timeout=5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            # What it were to do because of it later would be in the log at the end.
            looked = partial(_one_has_looked, cluster.replicas, behind)
            await eventually(looked, 30, what=f"that somebody looks ({fault})")
            during = await truth(cluster, store)
            assert during.rows == before.rows, f"what was not listed ({fault}) was forgotten"
            assert not [entry for entry in during.log if entry.gone]
            store.fault = ""

        for replica in cluster.replicas:
            await eventually(partial(_is_back, replica), 60, what="SERVING")
        # And nothing was done because of it later, either.
        await saving.add("r0")
        after = await settled(cluster, store)
        saving.check(after)
        assert not [entry for entry in after.log if entry.gone]
        await all_saw_everything(watching, after.log)


async def _one_has_looked(replicas: Sequence[Replica], behind: Sequence[int]) -> bool:
    """Whether one has compared a listing with the index, or has believed none."""
    for replica, start in zip(replicas, behind, strict=True):
        said = replica.said()[start:]
        compared = "found by looking" in said and '"kind": "run"' in said
        if compared or "storage unavailable" in said:
            return True
    return False


async def _is_back(replica: Replica) -> bool:
    """Whether it serves; it may have refused to start on a place that is not there."""
    if not replica.alive:
        replica.launch()
    return await _is(replica, "SERVING")


async def _is(replica: Replica, health: str) -> bool:
    return await replica.health() == health
