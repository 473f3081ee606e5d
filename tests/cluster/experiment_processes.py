"""The processes that keep experiments, and workers that compute their runs, as real processes.

    python -m tests.cluster.experiment_processes ADDRESS EXPERIMENT WORKER LEASE_SECONDS

is a worker: it starts run 0 of variation 0, says its lease token, and sends heartbeats until it is
killed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from gimle.asgard.v1 import asset_requests_pb2 as asset_pb
from gimle.asgard.v1 import asset_service_pb2_grpc as asset_grpc
from gimle.asgard.v1 import experiment_requests_pb2 as pb
from gimle.asgard.v1 import experiment_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import variation_requests_pb2 as variations
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.cluster.processes import Cluster, ServiceProcess, a_cluster, open_channel, variables
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]


class AssetReplica(ServiceProcess):
    """A replica of the process that keeps assets and experiments, at `address`."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        super().__init__("asset", environ | {"ASGARD_GRPC_PORT": str(self.port)}, log)

    async def serves(self) -> bool:
        async with open_channel(self.address, self.environ) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="gimle.asgard.v1.ExperimentService")
            try:
                reply = await stub.Check(request, timeout=5)
            except grpc.aio.AioRpcError:
                return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass
class ExperimentCluster:
    """A replica of RunService, and some of the process that keeps experiments."""

    cluster: Cluster
    assets: list[AssetReplica]

    @asynccontextmanager
    async def stub(self, *replicas: AssetReplica) -> AsyncIterator[Any]:
        """ExperimentService on these replicas, all unless told."""
        addresses = ",".join(each.address for each in replicas or self.assets)
        target = f"ipv4:{addresses}"
        async with open_channel(target, self.cluster.environ) as channel:
            yield pb_grpc.ExperimentServiceStub(channel)

    @asynccontextmanager
    async def asset_stub(self) -> AsyncIterator[Any]:
        """AssetService on all replicas."""
        addresses = ",".join(each.address for each in self.assets)
        async with open_channel(f"ipv4:{addresses}", self.cluster.environ) as channel:
            yield asset_grpc.AssetServiceStub(channel)

    async def committed(self) -> str:
        """Make a committed experiment with one variation; answer its id."""
        async with self.stub() as experiments, self.asset_stub() as assets:
            made = await experiments.CreateExperiment(
                pb.CreateExperimentRequest(hypothesis_summary="it holds")
            )
            id: str = made.experiment.experiment_id
            report = await assets.CreateAsset(
                asset_pb.CreateAssetRequest(asset_type="hypothesis_report", content=b"{}")
            )
            await experiments.AddExperimentInputs(
                pb.AddExperimentInputsRequest(experiment_id=id, asset_ids=[report.asset_id])
            )
            await experiments.CreateVariation(variations.CreateVariationRequest(experiment_id=id))
            await experiments.CommitExperiment(pb.CommitExperimentRequest(experiment_id=id))
        return id

    @contextmanager
    def worker(self, experiment_id: str, name: str, seconds: int) -> Iterator[Worker]:
        """A worker of a run, killed when the block ends."""
        command = [sys.executable, "-m", "tests.cluster.experiment_processes"]
        arguments = [self.assets[0].address, experiment_id, name, str(seconds)]
        process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            yield Worker(process)
        finally:
            process.kill()
            process.communicate()


@dataclass
class Worker:
    """A worker as a process."""

    process: subprocess.Popen[str]

    async def token(self) -> str:
        """What it was given when it started; "refused: WHY" where it was not."""
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        return line.strip()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def an_experiment_cluster(
    folder: Path, *, replicas: int = 1, **settings: Any
) -> AsyncIterator[ExperimentCluster]:
    """RunService and so many replicas of the process that keeps experiments, on PostgreSQL."""
    async with a_cluster(folder, database=True, gateways=0, **settings) as cluster:
        environ = cluster.environ | variables({"run_address": cluster.replicas[0].address})
        found = ExperimentCluster(
            cluster,
            [AssetReplica(environ, folder / f"asset-{each}.log") for each in range(replicas)],
        )
        try:
            for each in found.assets:
                each.launch()
            for each in found.assets:
                await each.ready()
            yield found
        finally:
            for each in found.assets:
                if each.alive:
                    await each.kill()
                print(f"--- {each.log.name}:\n{each.said()}")


async def work(address: str, experiment_id: str, name: str, seconds: int) -> None:
    """Compute a run: as far as its lease goes."""
    place: dict[str, Any] = {"experiment_id": experiment_id, "variation": 0, "run": 0}
    async with open_channel(address, {}) as channel:
        stub: Any = pb_grpc.ExperimentServiceStub(channel)
        try:
            made = await stub.StartVariationRun(
                variations.StartVariationRunRequest(
                    **place, worker=name, lease_duration=Duration(seconds=seconds)
                )
            )
        except grpc.aio.AioRpcError as error:
            print(f"refused: {error.details()}", flush=True)
            return
        print(made.lease_token, flush=True)
        while True:
            await stub.HeartbeatVariationRun(
                variations.HeartbeatVariationRunRequest(**place, lease_token=made.lease_token)
            )
            await asyncio.sleep(seconds / 5)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
