"""Deliveries missing or doubled after 100,000 changes, with random disconnects and restarts."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import grpc
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import NewResult

from tests.benchmarks.clusters import Running, cluster
from tests.benchmarks.figures import Bench, Figure
from tests.cluster.load import PASSING
from tests.cluster.processes import eventually
from tests.cluster.truth import truth
from tests.cluster.watchers import Watcher, watchers, wrong

WATCHERS = 50
RESULTS = 99
SAVERS = 4
CUT_EVERY_S = 0.05
REACHED_WITHIN_S = 300.0


def measure(bench: Bench) -> list[Figure]:
    """Savers, browsers whose connections break, and processes that are restarted or killed."""
    changes = bench.few(100_000, 10_000)
    seed = random.SystemRandom().randrange(2**32)
    bench.say(f"  seed {seed}")
    # In a folder: that an object store keeps what it is given is asked elsewhere.
    with cluster(bench.folder / "losing", s3=False, replicas=2, gateways=2) as running:
        told, lost, doubled, restarts = running.do(_lose(running, changes, random.Random(seed)))
    return [
        Figure(
            f"deliveries missing or doubled, {changes:,} changes, {WATCHERS} watchers",
            f"{lost} missing, {doubled} doubled of {told:,}",
            f"{restarts} restarts of replicas and gateways, a connection cut each 50 ms",
            "0",
            lost == 0 and doubled == 0,
        )
    ]


async def _lose(running: Running, changes: int, chance: random.Random) -> tuple[int, int, int, int]:
    """Deliveries, those missing, those doubled, and how many restarts there were."""
    cluster = running.cluster
    urls = [gateway.url for gateway in cluster.gateways]
    async with cluster.stub() as stub, watchers(WATCHERS, *urls, keep=False) as watching:
        calls = iter(range(changes // (RESULTS + 1)))
        saving = [asyncio.create_task(_save(stub, calls, chance)) for _ in range(SAVERS)]
        breaking = asyncio.create_task(_break(watching, chance))
        restarts = 0
        while not all(task.done() for task in saving):
            process = chance.choice(cluster.processes)
            await process.restart(kill=chance.random() < 0.5)
            restarts += 1
            await asyncio.sleep(chance.uniform(0.5, 3.0))
        await asyncio.gather(*saving)
        breaking.cancel()
        head = (await truth(cluster)).head

        async def all_there() -> bool:
            return min(each.at for each in watching) >= head

        with suppress(AssertionError):  # what is missing is counted
            await eventually(all_there, REACHED_WITHIN_S)
        told = lost = doubled = 0
        for watcher in watching:
            missing, twice = wrong(watcher.revisions, range(watcher.began + 1, head + 1))
            told, lost, doubled = (
                told + len(watcher.revisions),
                lost + len(missing),
                doubled + len(twice),
            )
    return told, lost, doubled, restarts


async def _save(stub: Any, calls: Any, chance: random.Random) -> None:
    for _ in calls:
        results = [
            NewResult(result_id=new_id(datetime.now(UTC)), result_type="Any", data=b"{}")
            for _ in range(RESULTS)
        ]
        run = pb.CreateRunRequest(run_id=new_id(datetime.now(UTC)), name="many")
        while True:
            try:
                await stub.SaveRun(pb.SaveRunRequest(run=run, results=results), timeout=30)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
                await asyncio.sleep(chance.uniform(0.05, 0.3))


async def _break(watching: list[Watcher], chance: random.Random) -> None:
    while True:
        await asyncio.sleep(CUT_EVERY_S)
        chance.choice(watching).cut()
