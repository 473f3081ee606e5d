"""A replica is told to stop in the middle of a call: nobody asks twice here, so the drain itself
is what keeps the call. In the other tests of restarts the library tries again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from gimle.asgard.v1 import asset_requests_pb2 as asset_pb
from gimle.asgard.v1 import asset_service_pb2_grpc as asset_grpc
from gimle.asgard.v1 import run_service_pb2 as run_pb
from gimle.asgard.v1 import run_service_pb2_grpc as run_grpc
from gimle.asgard.v1 import sim_data_service_pb2 as job_pb
from gimle.asgard.v1 import sim_data_service_pb2_grpc as job_grpc
from gimle.asgard.v1 import watch_assets_pb2, watch_jobs_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.cluster.processes import Cluster, ServiceProcess, a_cluster, eventually, open_channel
from tests.conftest import free_port
from tests.engines import minio
from tests.rpc.running import refused
from tests.sdk.relay import Relay, a_relay

pytestmark = pytest.mark.timeout(300)  # on a busy machine

MARK = "saved in the middle of a stop"
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


class Kind(NamedTuple):
    """A service that keeps things in PostgreSQL and tells of them: how it is called by raw gRPC.

    `made` is what CREATE answers, `told` what a change of it names.
    """

    full_name: str
    stub: Any
    create: str
    request: Any
    made: Any
    watch: str
    watching: Any
    told: Any


KINDS = {
    "run": Kind(
        "gimle.asgard.v1.RunService",
        run_grpc.RunServiceStub,
        "CreateRun",
        run_pb.CreateRunRequest(name=MARK),
        lambda answer: answer.run.run_id,
        "WatchRuns",
        run_pb.WatchRunsRequest,
        lambda change: change.object_id,
    ),
    "blob": Kind(
        "gimle.asgard.v1.SimDataService",
        job_grpc.SimDataServiceStub,
        "CreateDraft",
        job_pb.CreateDraftRequest(goal=MARK),
        lambda answer: answer.job.job_id,
        "WatchJobs",
        watch_jobs_pb2.WatchJobsRequest,
        lambda change: change.job_id,
    ),
    "asset": Kind(
        "gimle.asgard.v1.AssetService",
        asset_grpc.AssetServiceStub,
        "CreateAsset",
        asset_pb.CreateAssetRequest(asset_type="note", name=MARK, content=b"1"),
        lambda answer: answer.asset_id,
        "WatchAssets",
        watch_assets_pb2.WatchAssetsRequest,
        lambda change: change.object_id,
    ),
}


class Replica(ServiceProcess):
    """`asgard serve NAME` at `address`."""

    def __init__(self, name: str, number: int, cluster: Cluster, **environ: str) -> None:
        self.address = f"127.0.0.1:{(port := free_port())}"
        told = cluster.environ | environ | {"ASGARD_GRPC_PORT": str(port)}
        super().__init__(name, told, cluster.folder / f"{name}-{number}.log")

    async def serves(self) -> bool:
        try:
            return (await self.ready_says()).status_code == 200
        except httpx.HTTPError:
            return False

    async def ready_says(self) -> httpx.Response:
        """What its probe is answered."""
        async with httpx.AsyncClient(timeout=5) as client:
            return await client.get(f"{self.metrics}/readyz")


class Scene(NamedTuple):
    """Two replicas; what the first asks of its database passes `relay`."""

    first: Replica
    second: Replica
    relay: Relay


@asynccontextmanager
async def two_replicas(name: str, folder: Path) -> AsyncIterator[Scene]:
    """Two replicas of a service over the same engines."""
    engines: dict[str, Any] = {"database": True, "s3": minio.server(), "drain_seconds": 60}
    async with a_cluster(folder, replicas=0, gateways=0, started=False, **engines) as cluster:
        port = urlsplit(cluster.dsn).port or 0
        with a_relay(port) as relay:
            by_relay = cluster.dsn.replace(f":{port}/", f":{relay.port}/")
            first = Replica(name, 0, cluster, ASGARD_DATABASE_URL=by_relay)
            second = Replica(name, 1, cluster)
            replicas = first, second
            try:
                for each in replicas:
                    await each.start()
                yield Scene(first, second, relay)
            finally:
                for each in replicas:
                    if each.alive:
                        await each.kill()
                    print(f"--- {each.log.name}:\n{each.said()}")


async def _followed(watch: Any, token: str) -> tuple[str, grpc.aio.AioRpcError]:
    """The last token of a watch, which may tell of checkpoints, and what ends it."""
    try:
        while (message := await watch.read()) is not grpc.aio.EOF:
            token = message.resume_token or token
    except grpc.aio.AioRpcError as error:
        return token, error
    raise AssertionError("it has ended without a word")


@pytest.mark.parametrize("name", KINDS)
async def test_a_replica_that_is_told_to_stop_finishes_its_calls_and_hands_its_watchers_on(
    tmp_path: Path, name: str
) -> None:
    kind = KINDS[name]
    async with (
        two_replicas(name, tmp_path) as (first, second, relay),
        open_channel(first.address, {}) as channel,
        open_channel(second.address, {}) as elsewhere,
    ):
        stub, other = kind.stub(channel), kind.stub(elsewhere)
        watch = getattr(stub, kind.watch)(kind.watching())
        token = (await watch.read()).resume_token
        assert token
        asking: Any = health_pb2_grpc.HealthStub(channel)
        health = asking.Watch(health_pb2.HealthCheckRequest(service=kind.full_name))
        assert (await health.read()).status == SERVING
        relay.holds = lambda data: MARK.encode() in data
        saving = getattr(stub, kind.create)(kind.request)

        async def under_way() -> bool:
            return relay.held > 0

        await eventually(under_way, what="that the call has begun")
        first.signal(signal.SIGTERM)
        assert (await health.read()).status == NOT_SERVING
        health.cancel()
        token, ended = await _followed(watch, token)
        assert refused(ended)[:2] == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        ready = await first.ready_says()
        assert (ready.status_code, ready.json()["detail"]) == (503, "this process is stopping")
        assert not saving.done()
        assert first.alive
        relay.released.set()
        made = kind.made(await saving)
        assert await first.ended() == 0, first.said()
        resumed = getattr(other, kind.watch)(kind.watching(resume_token=token))
        told: list[Any] = []
        async with asyncio.timeout(60):
            while made not in told:
                message = await resumed.read()
                assert message is not grpc.aio.EOF
                assert message.WhichOneof("event") in (None, "checkpoint")
                told += [kind.told(change) for change in message.changes]
        assert told == [made]
        resumed.cancel()
