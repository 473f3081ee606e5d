"""Replicas and gateways as processes of their own: start, stop, and what is missing meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import NewResult
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.cluster.processes import RUN_SERVICE, Cluster, a_cluster, eventually, open_channel
from tests.conftest import free_port
from tests.engines import minio, postgres
from tests.gateway.monitors import Browser, a_browser
from tests.rpc.running import refused

ENGINES: dict[str, dict[str, Any]] = {
    "folder": {},
    "folder-postgres-redis": {"database": True, "bell": True},
    "s3-postgres-redis": {"s3": minio.server, "database": True, "bell": True},
    "s3": {"s3": minio.server},
}
DEPENDENCIES = ("documents", "index", "bell")


async def a_run(stub: Any, name: str) -> str:
    made: str = (await stub.CreateRun(pb.CreateRunRequest(name=name))).run.run_id
    return made


async def told_of(browser: Browser, run_id: str) -> list[str]:
    """Wait until a browser is told of a run; what it was told of before."""
    before = []
    while (event := await browser.event()).get("object_id") != run_id:
        before.append(event.get("object_id", event["type"]))
    return before


@pytest.mark.parametrize("engines", ENGINES)
async def test_what_one_replica_saves_every_gateway_and_replica_shows(
    tmp_path: Path, engines: str
) -> None:
    chosen = dict(ENGINES[engines])
    if "s3" in chosen:
        chosen["s3"] = await asyncio.to_thread(chosen["s3"])
    async with (
        a_cluster(tmp_path, replicas=2, **chosen) as cluster,
        cluster.client() as client,
        cluster.stub(cluster.replicas[0]) as first,
        cluster.stub(cluster.replicas[1]) as second,
        a_browser(client) as browser,
    ):
        run_id = await a_run(first, "here")
        assert (await second.GetRun(pb.GetRunRequest(run_id=run_id))).run.name == "here"
        await told_of(browser, run_id)
        assert [each["id"] for each in (await client.get("/api/runs")).json()] == [run_id]
        for replica in cluster.replicas:
            for name in ("", RUN_SERVICE, *DEPENDENCIES):
                assert await replica.health(name) == "SERVING"
        services = dict.fromkeys((RUN_SERVICE, *DEPENDENCIES), "SERVING")
        ready = (await client.get("/readyz")).json()
        assert ready == {"status": "ready", "services": services}
        for process in (cluster.gateway, *cluster.replicas):
            told = await _told(f"{process.metrics}/readyz")
            assert told.status_code == 200
            assert told.json()["services"]["index"] == "SERVING"
            assert (await _told(f"{process.metrics}/healthz")).status_code == 200
        # Numbers of the process are apart from the page, where anybody may look.
        assert "asgard_sse_clients 1.0" in (await _told(f"{cluster.gateway.metrics}/metrics")).text
        assert (await client.get("/metrics")).status_code == 404
        numbers = (await _told(f"{cluster.replicas[0].metrics}/metrics")).text
        assert "CreateRun" in numbers
        for process in cluster.processes:
            assert await process.stop() == 0, process.said()


async def _told(url: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.get(url)


async def test_a_gateway_may_be_there_before_what_it_needs_and_says_what_that_is(
    tmp_path: Path,
) -> None:
    async with a_cluster(tmp_path, started=False) as cluster, cluster.client() as client:
        cluster.gateway.launch()
        await eventually(cluster.gateway.answers, what="the gateway's /healthz")
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["metadata"] == {RUN_SERVICE: "UNAVAILABLE"}
        assert "the run service is not ready" in answer.json()["detail"]
        for path in ("/api/runs", "/v1/runs"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) >= 1
        async with a_browser(client) as browser:
            await cluster.replicas[0].start()
            await cluster.gateway.ready()
            # It was told that it is connected when nobody knew of changes: now it reads anew.
            assert await browser.event() == {"type": "reset"}
            run_id = (await client.post("/v1/runs", json={"name": "first"})).json()["id"]
            await told_of(browser, run_id)


async def test_a_replica_that_is_killed_is_missed_by_nobody(tmp_path: Path) -> None:
    async with (
        a_cluster(tmp_path, replicas=2, database=True, bell=True) as cluster,
        cluster.client() as client,
        cluster.stub(cluster.replicas[1]) as survivor,
        a_browser(client) as browser,
    ):
        known = await a_run(survivor, "before")
        await told_of(browser, known)
        reading = asyncio.create_task(_read_on(client, known))
        await asyncio.sleep(0.3)
        await cluster.replicas[0].kill()
        made = [await a_run(survivor, f"run {number}") for number in range(20)]
        assert await told_of(browser, made[0]) == []
        for run_id in made[1:]:
            assert (await browser.event())["object_id"] == run_id
        reading.cancel()
        statuses = await reading
        assert len(statuses) > 10
        assert set(statuses) == {200}
        await cluster.replicas[0].start()
        async with cluster.stub(cluster.replicas[0]) as back:
            await told_of(browser, await a_run(back, "after"))


async def _read_on(client: httpx.AsyncClient, run_id: str) -> list[int]:
    """Read a run again and again until cancelled; the statuses of the answers."""
    statuses = []
    try:
        while True:
            statuses.append((await client.get(f"/v1/runs/{run_id}")).status_code)
    except asyncio.CancelledError:
        return statuses


async def test_browsers_outlive_an_outage_of_every_replica(tmp_path: Path) -> None:
    async with (
        a_cluster(tmp_path) as cluster,
        cluster.client() as client,
        a_browser(client) as browser,
    ):
        run_id = (await client.post("/v1/runs", json={"name": "before"})).json()["id"]
        await told_of(browser, run_id)
        await cluster.replicas[0].kill()

        async def refused_kindly() -> bool:
            answer = await client.get("/v1/runs")
            return answer.status_code == 503 and "retry-after" in answer.headers

        await eventually(refused_kindly)
        await cluster.replicas[0].start()
        async with cluster.stub() as stub:
            missed = await a_run(stub, "while the gateway may not be back")
        # The same connection, each change once, and no reset: nothing was lost.
        assert await told_of(browser, missed) == []
        await cluster.gateway.ready()


async def test_a_replica_that_stops_says_so_first_and_finishes_what_has_begun(
    tmp_path: Path,
) -> None:
    async with (
        a_cluster(tmp_path, gateways=0, drain_seconds=20) as cluster,
        cluster.stub() as stub,
        cluster.stub() as other,
        open_channel(cluster.replicas[0].address, {}) as channel,
    ):
        run_id = await a_run(stub, "large")
        result_id = await _a_large_result(stub, run_id)
        watch = other.WatchRuns(pb.WatchRunsRequest())
        await watch.read()
        asking: Any = health_pb2_grpc.HealthStub(channel)
        health = asking.Watch(health_pb2.HealthCheckRequest(service=RUN_SERVICE))
        assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
        reading = stub.ReadResult(one_pb.ReadResultRequest(result_id=result_id))
        await reading.read()  # the rest waits for us: nobody reads so much ahead
        replica = cluster.replicas[0]
        replica.signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await watch.read()
        assert refused(ended.value)[:2] == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        told = await _told(f"{replica.metrics}/readyz")
        assert (told.status_code, told.json()["detail"]) == (503, "this process is stopping")
        assert (await _told(f"{replica.metrics}/healthz")).status_code == 200
        parts = 1
        while await reading.read() is not grpc.aio.EOF:
            parts += 1
        assert parts > 3
        health.cancel()
        assert await replica.ended() == 0, replica.said()


async def _a_large_result(stub: Any, run_id: str) -> str:
    body = BytesIO()
    np.save(body, np.zeros(4_000_000), allow_pickle=False)
    result = NewResult(
        result_type="Any", data=b'{"x":{"$array":"a"}}', arrays={"a": body.getvalue()}
    )
    request = pb.AddResultRequest(run_id=run_id, result=result)
    made: str = (await stub.AddResult(request)).result.result_id
    return made


async def test_a_gateway_that_stops_lets_browsers_go_and_finishes_requests(
    tmp_path: Path,
) -> None:
    async with (
        a_cluster(tmp_path, drain_seconds=20) as cluster,
        cluster.client() as client,
        cluster.client() as another,
        a_browser(client) as browser,
    ):
        told, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'{"name":'
            told.set()
            await go_on.wait()
            yield b'"slow"}'

        saving = asyncio.create_task(another.post("/v1/runs", content=body()))
        await told.wait()
        await asyncio.sleep(0.2)  # until the gateway has taken it up
        cluster.gateway.signal(signal.SIGTERM)
        with pytest.raises(EOFError):
            await browser.event()
        ready = await _told(f"{cluster.gateway.metrics}/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, "this gateway is stopping")
        await asyncio.sleep(1.5)  # longer than the shortest drain there is
        assert cluster.gateway.alive
        go_on.set()
        answer = await saving
        assert (answer.status_code, answer.json()["name"]) == (200, "slow")
        assert await cluster.gateway.ended() == 0, cluster.gateway.said()


async def test_a_database_that_is_away_is_named_until_it_is_back(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, database=True) as cluster, cluster.client() as client:
        run_id = (await client.post("/v1/runs", json={"name": "before"})).json()["id"]
        await asyncio.to_thread(postgres.server().stop)
        try:
            answer = await eventually(partial(_not_ready, client))
        finally:
            await asyncio.to_thread(postgres.server().start)
        assert answer.json()["metadata"] == {
            **{RUN_SERVICE: "NOT_SERVING", "documents": "SERVING"},
            **{"index": "NOT_SERVING", "bell": "SERVING"},
        }
        assert "its index cannot be reached" in answer.json()["detail"]
        await cluster.gateway.ready()
        assert [each["id"] for each in (await client.get("/api/runs")).json()] == [run_id]


async def test_a_start_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, replicas=2, gateways=0, database=True, started=False) as cluster:
        waiting, given_up = cluster.replicas
        given_up.environ["ASGARD_START_SECONDS"] = "0.5"
        await asyncio.to_thread(postgres.server().stop)
        try:
            waiting.launch()
            given_up.launch()
            # Past a pause or two: it was not the first attempt that found it.
            assert await given_up.ended() == 1
            assert given_up.logged()[-1]["event"] == "cannot run"
            await eventually(partial(_waits, waiting))
            ready = await _told(f"{waiting.metrics}/readyz")
            assert (ready.status_code, ready.json()["detail"]) == (503, "this process is starting")
            assert (await _told(f"{waiting.metrics}/healthz")).status_code == 200
        finally:
            await asyncio.to_thread(postgres.server().start)
        await waiting.ready()
        (serving,) = [line for line in waiting.logged() if line["event"] == "serving"]
        assert serving["grpc"] == waiting.address
        assert [line for line in waiting.said().splitlines() if not line.startswith("{")] == []


async def test_a_process_that_waits_for_its_engines_can_be_stopped(tmp_path: Path) -> None:
    nobody = f"postgresql://asgard@127.0.0.1:{free_port()}/asgard"
    async with a_cluster(tmp_path, gateways=0, started=False) as cluster:
        (replica,) = cluster.replicas
        replica.environ["ASGARD_DATABASE_URL"] = nobody
        replica.launch()
        await eventually(partial(_waits, replica))
        assert await replica.stop() == 0


async def _waits(replica: Any) -> bool:
    return "waiting for an engine" in replica.said()


async def _not_ready(client: httpx.AsyncClient) -> httpx.Response | None:
    answer = await client.get("/readyz")
    return answer if answer.status_code == 503 else None


async def test_without_the_bell_replicas_start_and_find_changes_by_looking(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, replicas=2, database=True, bell=True, started=False) as cluster:
        assert cluster.redis is not None
        await asyncio.to_thread(cluster.redis.stop)
        for process in cluster.processes:
            process.launch()
        for process in cluster.processes:
            await process.ready()
        for replica in cluster.replicas:
            assert await replica.health("bell") == "NOT_SERVING"
            assert await replica.health() == "SERVING"
        await _cross(cluster)
        await asyncio.to_thread(cluster.redis.start)
        for replica in cluster.replicas:
            await eventually(partial(_is_serving, replica, "bell"))
        await asyncio.to_thread(cluster.redis.stop)
        await _cross(cluster)
        for replica in cluster.replicas:
            said = [line["event"] for line in replica.logged() if "bell" in line["event"]]
            away = "bell unreachable: changes by other replicas are found by looking"
            assert said == [away, "bell reachable again", away]


async def _is_serving(replica: Any, name: str) -> bool:
    return bool(await replica.health(name) == "SERVING")


async def _cross(cluster: Cluster) -> None:
    """What one replica is told, a watcher of the other hears."""
    first, second = cluster.replicas
    async with cluster.stub(first) as writer, cluster.stub(second) as reader:
        watch = reader.WatchRuns(pb.WatchRunsRequest())
        await watch.read()
        run_id = await a_run(writer, "across")
        async with asyncio.timeout(20):
            while not any(each.object_id == run_id for each in (await watch.read()).changes):
                pass
        watch.cancel()
