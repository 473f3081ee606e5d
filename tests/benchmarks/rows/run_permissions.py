"""The first page of a list of runs that knows permissions, through the RPC, beside the unfiltered
one: while nothing changes, and when the log has moved since, so that runs are counted again.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.run.handlers import RunHandlers
from gimle.asgard.v1 import run_service_pb2, run_service_pb2_grpc

from tests.benchmarks.figures import Bench, Figure, median, milliseconds
from tests.contract.index_places import NOW, Shelf, a_run, open_index

RATIO = 2.0
TEAMS = (1, 20, 1_000)
_WHO = "x-caller"


def measure(bench: Bench) -> list[Figure]:
    """One index of each engine; callers ask in turn."""
    return asyncio.run(_measure(bench))


async def _measure(bench: Bench) -> list[Figure]:
    figures = []
    count, rounds = bench.few(100_000, 20_000), bench.few(200, 40)
    for engine in ("sqlite", "postgres"):
        bench.say(f"{count:,} runs in {engine}, 5 % readable")
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            shelf = _shelf(count)
            async with open_index(engine, shelf, Path(folder)) as index:
                await index.rebuild([("run", shelf.listing("run"))])
                same = await _asked(index, rounds, None)
                moved = await _asked(index, rounds // 4, shelf)
        for teams in TEAMS:
            ours, again = median(same[str(teams)]), median(moved[str(teams)])
            unfiltered = median(same["all"])
            figures.append(
                Figure(
                    f"first page of {count:,} runs, 5 % readable, caller in {teams:,} teams,"
                    f" {engine}",
                    f"p50 {milliseconds(ours)}, ratio {ours / unfiltered:.2f}; counted again"
                    f" {milliseconds(again)}",
                    f"unfiltered: p50 {milliseconds(unfiltered)}",
                    f"ratio at most {RATIO}",
                    ours / unfiltered <= RATIO,
                )
            )
    return figures


def _shelf(count: int) -> Shelf:
    """Runs of fifty users, each twentieth of which one of each number of teams may read, too."""
    shelf = Shelf()
    for each in range(count):
        mine = [f"t{teams}_{each * 2_654_435_761 // 128 % teams}" for teams in TEAMS]
        whose = {"owner": f"u{each % 50}", "visibility": "private"}
        shared = {"readers": [whose["owner"], *mine]} if each % 20 == 0 else {}
        at = NOW - timedelta(seconds=count - each)
        shelf.put(a_run(f"r{each:07}", created_at=at, extra={**whose, **shared}))
    return shelf


def _caller(name: str) -> Principal:
    if name == "all":
        return LOCAL
    return Principal("ada", teams=frozenset(f"t{name}_{each}" for each in range(int(name))))


async def _asked(index: Any, rounds: int, moving: Shelf | None) -> dict[str, list[float]]:
    """How long each caller waits; before each call a run changes on the shelf that is `moving`."""
    callers = {name: _caller(name) for name in ("all", *map(str, TEAMS))}
    took: dict[str, list[float]] = {name: [] for name in callers}
    async with _served(index, callers) as stub:
        for round_ in range(rounds + 10):
            for name in callers:
                if moving is not None:
                    changed = a_run("changing", name=f"{name} {round_}", extra={"owner": "eve"})
                    await index.observe([moving.put(changed)])
                begun = time.perf_counter()
                answer = await stub.ListRuns(
                    run_service_pb2.ListRunsRequest(), metadata=((_WHO, name),)
                )
                if round_ >= 10:
                    took[name].append(time.perf_counter() - begun)
                if len(answer.runs) != 50:
                    raise RuntimeError(f"{name} was answered {len(answer.runs)} runs")
    return took


@asynccontextmanager
async def _served(index: Any, callers: Mapping[str, Principal]) -> AsyncIterator[Any]:
    """RunService as far as it lists, to callers who say who they are."""

    def who(context: Any) -> Principal:
        return callers[dict(context.invocation_metadata())[_WHO]]

    nobody: Any = None
    handlers = RunHandlers(
        nobody, index, nobody, nobody, nobody, lambda: datetime.now(UTC), nobody, nobody
    )
    name = "gimle.asgard.v1.RunService"
    add = run_service_pb2_grpc.add_RunServiceServicer_to_server
    server = create_server([Service(name, add, handlers)], Health([name]), authenticate=who)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield run_service_pb2_grpc.RunServiceStub(channel)
    finally:
        await server.stop(None)
