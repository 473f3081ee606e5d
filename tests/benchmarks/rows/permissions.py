"""The first page of a list that knows permissions, through the RPC, beside the unfiltered one; and
what the permission is of a GetAsset call.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from asgard_server.asset.handlers import LifeHandlers
from asgard_server.asset.keeping import Keeper
from asgard_server.asset.listing import Lists
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.store.sql.asset_versions import SqlVersions
from asgard_server.store.sql.assets import SqlAssets
from asgard_server.store.sql.session import Database, Session
from gimle.asgard.v1 import asset_requests_pb2, asset_service_pb2_grpc

from tests.benchmarks.figures import Bench, Figure, median, milliseconds
from tests.contract.sql_homes import ENGINES, database

RATIO = 2.0
SHARE = 0.1
TEAMS = (1, 20, 1_000)
LAYOUTS: Mapping[str, Callable[[int, int], bool]] = {
    "spread": lambda each, of: each % 20 == 0,
    "newest": lambda each, of: each >= of * 19 // 20,
    "oldest": lambda each, of: each < of // 20,
}
_WHO = "x-caller"


def measure(bench: Bench) -> list[Figure]:
    """Each layout in a database of its own; callers are asked for in turn."""
    return asyncio.run(_measure(bench))


async def _measure(bench: Bench) -> list[Figure]:
    figures = []
    count, rounds = bench.few(100_000, 20_000), bench.few(200, 40)
    for engine in ENGINES:
        for layout, fits in LAYOUTS.items():
            bench.say(f"{count:,} assets in {engine}, 5 % readable, {layout}")
            with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
                async with database(engine, Path(folder)) as opened:
                    await _fill(opened, count, fits)
                    took = await _asked(opened, rounds)
                    if layout == "oldest":
                        figures.append(await _checked(opened, engine, bench.few(2_000, 400)))
            unfiltered = median(took["all"])
            for teams in TEAMS:
                ours = median(took[str(teams)])
                figures.append(
                    Figure(
                        f"first page of {count:,} assets, 5 % readable, {layout}, caller in"
                        f" {teams:,} teams, {engine}",
                        f"p50 {milliseconds(ours)}, ratio {ours / unfiltered:.2f}",
                        f"unfiltered: p50 {milliseconds(unfiltered)}",
                        f"ratio at most {RATIO}",
                        ours / unfiltered <= RATIO,
                    )
                )
    return figures


def _caller(name: str) -> Principal:
    if name == "all":
        return LOCAL
    return Principal("ada", teams=frozenset(f"t{name}_{each}" for each in range(int(name))))


async def _fill(opened: Database, count: int, fits: Callable[[int, int], bool]) -> None:
    async def work(session: Session) -> None:
        await session.many(
            "INSERT INTO assets (id, asset_type, name, state, kind, content_type, created_at,"
            " updated_at, created_by, visibility, request_digest) VALUES (?, 'dataset', ?, 'ready',"
            " 'inline', 'application/json', ?, ?, 'eve', 'private', '')",
            [(f"a{each:07}", f"asset {each}", each + 1, each + 1) for each in range(count)],
        )
        await session.many(
            "INSERT INTO readers (object_kind, principal, created_at, object_id)"
            " VALUES ('asset', ?, ?, ?)",
            [
                (who, each + 1, f"a{each:07}")
                for each in range(count)
                for who in (
                    f"u{each % 50}",
                    *(
                        [f"t{teams}_{each * 2_654_435_761 // 128 % teams}" for teams in TEAMS]
                        if fits(each, count)
                        else []
                    ),
                )
            ],
        )
        await session.many(
            "INSERT INTO grants (object_kind, object_id, principal, action, source, granted_by,"
            " granted_at) VALUES ('asset', ?, 't20_1', 'read', 'own', 'eve', 0)",
            [(f"a{each:07}",) for each in range(count)],
        )
        if session.engine == "postgres":
            await session.run("ANALYZE")

    await opened.write(work)


async def _asked(opened: Database, rounds: int) -> dict[str, list[float]]:
    callers = {name: _caller(name) for name in ("all", *map(str, TEAMS))}
    took: dict[str, list[float]] = {name: [] for name in callers}
    async with _served(opened, callers) as stub:
        for round_ in range(rounds + 5):
            for name in callers:
                begun = time.perf_counter()
                answer = await stub.ListAssets(
                    asset_requests_pb2.ListAssetsRequest(), metadata=((_WHO, name),)
                )
                if round_ >= 5:
                    took[name].append(time.perf_counter() - begun)
                if len(answer.assets) != 50:
                    raise RuntimeError(f"{name} was answered {len(answer.assets)} assets")
    return took


async def _checked(opened: Database, engine: str, rounds: int) -> Figure:
    """GetAsset by who is in 20 teams, one of which may read it, and by who may read everything.

    What the second does not do is ask what the caller may do; all else is the same.
    """
    callers = {name: _caller(name) for name in ("all", "20")}
    took: dict[str, list[float]] = {name: [] for name in callers}
    async with _served(opened, callers) as stub:
        for round_ in range(rounds + 20):
            request = asset_requests_pb2.GetAssetRequest(asset_id=f"a{round_:07}")
            for name in (*callers, *reversed(callers)):
                begun = time.perf_counter()
                await stub.GetAsset(request, metadata=((_WHO, name),))
                if round_ >= 20:
                    took[name].append(time.perf_counter() - begun)
    checked, free = median(took["20"]), median(took["all"])
    part = max(0.0, 1 - free / checked)
    return Figure(
        f"permission check as share of a GetAsset call, caller in 20 teams, {engine}",
        f"p50 {milliseconds(checked)}, of which {part:.1%}",
        f"without: p50 {milliseconds(free)}",
        f"below {SHARE:.0%}",
        part < SHARE,
    )


@asynccontextmanager
async def _served(opened: Database, callers: Mapping[str, Principal]) -> AsyncIterator[Any]:
    """AssetService as far as it lists and reads rows, to callers who say who they are."""

    def who(context: Any) -> Principal:
        return callers[dict(context.invocation_metadata())[_WHO]]

    async def told() -> None:
        return

    def now() -> datetime:
        return datetime.now(UTC)

    lists = Lists(SqlAssets(opened), SqlVersions(opened), now, told)
    nobody: Any = None
    keeper = Keeper(SqlAssets(opened), nobody, now, told)
    name = "gimle.asgard.v1.AssetService"
    add = asset_service_pb2_grpc.add_AssetServiceServicer_to_server
    services = [Service(name, add, LifeHandlers(keeper, nobody, lists, now))]  # type: ignore[abstract]  # lists and rows alone are asked of it
    server = create_server(services, Health([name]), authenticate=who)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield asset_service_pb2_grpc.AssetServiceStub(channel)
    finally:
        await server.stop(None)
