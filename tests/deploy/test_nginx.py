"""A real nginx with deploy/nginx before real services: gRPC by path, live updates unbuffered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.cluster.processes import RUN_SERVICE, Cluster, a_cluster
from tests.conftest import free_port
from tests.engines.nginx import Nginx


@dataclass
class Proxied:
    """A cluster, and where nginx is in front of it."""

    cluster: Cluster
    http: str
    grpc: str


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Proxied]:
    async with a_cluster(tmp_path) as cluster:
        http_port, grpc_port = free_port(), free_port()
        nginx = Nginx(
            tmp_path / "nginx",
            local_resolvers="127.0.0.1",  # asked for names only, and these are addresses
            http_listen=f"127.0.0.1:{http_port}",
            grpc_listen=f"127.0.0.1:{grpc_port}",
            gateway_address=cluster.gateway.url.removeprefix("http://"),
            run_address=cluster.replicas[0].address,
            # test_blobs_behind_nginx.py asks these.
            store_listen=f"127.0.0.1:{free_port()}",
            asset_address="127.0.0.1:1",
            blob_address="127.0.0.1:1",
            store_address="127.0.0.1:1",
        )
        assert "test is successful" in nginx.tested()
        nginx.start(grpc_port)
        try:
            yield Proxied(cluster, f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}")
        finally:
            nginx.stop()
            print((tmp_path / "nginx" / "error.log").read_text())


async def test_grpc_finds_its_service_by_path(proxied: Proxied) -> None:
    async with grpc.aio.insecure_channel(proxied.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        reply = await health.Check(health_pb2.HealthCheckRequest(service=RUN_SERVICE), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING

        stub = pb_grpc.RunServiceStub(channel)
        large = "x" * 900_000  # more than one buffer of anybody's
        made = await stub.CreateRun(pb.CreateRunRequest(name="by path", note=large), timeout=20)
        found = await stub.GetRun(pb.GetRunRequest(run_id=made.run.run_id), timeout=20)
        assert found.run.note == large

        nowhere: Any = channel.unary_unary("/gimle.asgard.v1.NoSuchService/Get")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await nowhere(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_storage_behind_nginx_keeps_runs_and_arrays(proxied: Proxied) -> None:
    values = np.arange(300_000, dtype=np.float64)

    def save_and_load() -> np.ndarray:
        storage = AsgardStorage(f"grpc://{proxied.grpc}")
        run = storage.create_run(name="through nginx")
        storage.add_result(run, result_type="DiscreteSequence", data={"values": values})
        (result,) = storage.get_run_with_results(run.id).results
        return np.asarray(result.data["values"])

    assert np.array_equal(await asyncio.to_thread(save_and_load), values)


async def test_a_change_reaches_watchers_and_pages_through_nginx_at_once(proxied: Proxied) -> None:
    async with (
        grpc.aio.insecure_channel(proxied.grpc) as channel,
        httpx.AsyncClient(base_url=proxied.http, timeout=20) as client,
        client.stream("GET", "/api/updates") as page,
    ):
        assert page.status_code == 200
        lines = page.aiter_lines()
        await asyncio.wait_for(anext(lines), 40)  # it is told where it stands
        stub = pb_grpc.RunServiceStub(channel)
        watch = stub.WatchRuns(pb.WatchRunsRequest())
        await asyncio.wait_for(watch.read(), 40)

        made = await stub.CreateRun(pb.CreateRunRequest(name="live"), timeout=10)

        async def on_the_page() -> None:
            async for line in lines:
                if made.run.run_id in line:
                    return

        async def in_the_watch() -> None:
            while made.run.run_id not in str(await watch.read()):
                pass

        # A buffer would keep them until it is full, or until the stream ends.
        async with asyncio.timeout(5):
            await asyncio.gather(on_the_page(), in_the_watch())
        watch.cancel()


async def test_the_page_is_served_and_changed_under_the_name_that_was_asked(
    proxied: Proxied,
) -> None:
    async with httpx.AsyncClient(base_url=proxied.http, timeout=20) as client:
        assert "<!doctype html>" in (await client.get("/")).text
        foreign = await client.get("/api/runs", headers={"host": "elsewhere.example.com"})
        assert foreign.status_code == 403
        origin = {"origin": proxied.http}
        gone = await client.delete(
            "/api/run", params={"id": "0198c0de-0000-7000-8000-000000000000"}, headers=origin
        )
        assert gone.status_code == 404  # allowed, and not there


async def test_a_service_that_is_away_is_unavailable_and_found_again(proxied: Proxied) -> None:
    replica = proxied.cluster.replicas[0]
    await replica.kill()
    async with grpc.aio.insecure_channel(proxied.grpc) as channel:
        stub = pb_grpc.RunServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListRuns(pb.ListRunsRequest(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        replica.launch()
        await replica.ready()
        await stub.ListRuns(pb.ListRunsRequest(), timeout=10)
