"""kill -9 of the process that writes a report or deletes a job, over PostgreSQL and S3."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from gimle.asgard.v1 import job_pb2
from gimle.asgard.v1 import sim_data_service_pb2 as pb
from gimle.asgard.v1 import sim_data_service_pb2_grpc as pb_grpc
from simswarm.samples import artifacts

from tests.cluster.processes import ServiceProcess
from tests.conftest import free_port
from tests.engines import minio, postgres, versitygw
from tests.engines.s3_store import Store
from tests.gateway.job_servers import environment

ROOT = Path(__file__).parents[2]
FILES = artifacts(7, agents=10, rounds=3)
PATIENCE_SECONDS = 120.0


class Replica(ServiceProcess):
    """A replica of BlobService, of which SimDataService is a part."""

    def __init__(self, folder: Path, number: int, environ: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{(port := free_port())}"
        super().__init__(
            "blob", {**environ, "ASGARD_GRPC_PORT": str(port)}, folder / f"blob-{number}.log"
        )

    async def serves(self) -> bool:
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                return (await client.get(f"{self.metrics}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        async with grpc.aio.insecure_channel(self.address) as channel:
            yield pb_grpc.SimDataServiceStub(channel)


async def environ_of(folder: Path, store: Store) -> tuple[dict[str, str], str]:
    """What leads a replica to PostgreSQL and to a bucket of a store; the bucket's name."""
    bucket = store.bucket()
    return {
        **environment(store, bucket),
        "ASGARD_DATABASE_URL": await postgres.database_of(folder),
        "ASGARD_STORAGE": f"s3://{bucket}/blobs",
        "ASGARD_REPORT_RUNNER": "tests.cluster.hanging_runner:run",
        "PYTHONPATH": str(ROOT),
    }, bucket


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for replica in replicas:
            if replica.alive:
                await replica.kill()
            print(f"--- {replica.log.name}:\n{replica.said()}")


async def that(is_so: Callable[[], Any], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


async def delivered(stub: Any, goal: str) -> int:
    """Make a job and do its work; answer its id."""
    job = (
        await stub.CreateJob(
            pb.CreateJobRequest(
                seed_text="seed", goal=goal, tier=job_pb2.Job.TIER_SMALL, forecast_days=1
            )
        )
    ).job
    claim = await stub.ClaimJob(pb.ClaimJobRequest(job_id=job.job_id, worker="pod"))
    async with httpx.AsyncClient() as http:
        for name, body in FILES.items():
            sent = await http.put(claim.uploads.files[name], content=body)
            assert sent.status_code == 200
    produced = [pb.CompleteJobRequest.Produced(name=name) for name in FILES]
    await stub.CompleteJob(
        pb.CompleteJobRequest(job_id=job.job_id, lease_token=claim.lease_token, files=produced)
    )
    made: int = job.job_id
    return made


async def gone(stub: Any, job_id: int) -> None:
    """Wait until a job cannot be found."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await _is_there(stub, job_id):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def _is_there(stub: Any, job_id: int) -> bool:
    try:
        await stub.GetJob(pb.GetJobRequest(job_id=job_id))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


@pytest.mark.parametrize("store", [minio, versitygw], ids=["minio", "versitygw"])
async def test_a_report_is_finished_by_another_when_its_process_is_killed(
    tmp_path: Path, store: Any
) -> None:
    environ, bucket = await environ_of(tmp_path, await asyncio.to_thread(store.server))
    marks = tmp_path / "marks"
    marks.mkdir()
    first = Replica(tmp_path, 1, {**environ, "TESTS_HANG": str(marks)})
    second = Replica(tmp_path, 2, environ)
    goals = ("behind the fetch", "behind the put")
    async with running(first, second):
        await first.start()
        async with first.stub() as stub:
            ids = [await delivered(stub, goal) for goal in goals]
        await that(lambda: all((marks / goal).exists() for goal in goals), "it does not hang")
        await second.start()
        await first.kill()
        async with second.stub() as stub:
            deadline = time.monotonic() + PATIENCE_SECONDS
            for job_id in ids:
                while True:
                    job = (await stub.GetJob(pb.GetJobRequest(job_id=job_id))).job
                    if job.status != job_pb2.Job.STATUS_REPORTING:
                        break
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.2)
                assert job.status == job_pb2.Job.STATUS_COMPLETED, job.error
                key = f"sim-data/{job_id}/report.md"
                got = store.server().client().get_object(Bucket=bucket, Key=key)["Body"].read()
                assert got.decode() == job.result_report


async def test_a_delete_is_finished_by_another_when_its_process_is_killed(tmp_path: Path) -> None:
    store: Store = await asyncio.to_thread(versitygw.server.__wrapped__)  # one of our own: it stops
    environ, bucket = await environ_of(tmp_path, store)
    first, second = Replica(tmp_path, 1, environ), Replica(tmp_path, 2, environ)
    store_process = store._process
    assert store_process is not None
    async with running(first, second):
        await first.start()
        async with first.stub() as stub:
            job_id = await delivered(stub, "to be deleted")
            store_process.send_signal(signal.SIGSTOP)
            try:
                deleting = asyncio.ensure_future(stub.DeleteJob(pb.DeleteJobRequest(job_id=job_id)))
                # The row says so; the files are all there.
                await gone(stub, job_id)
                await first.kill()
                with pytest.raises(grpc.aio.AioRpcError):
                    await deleting
            finally:
                store_process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(store.keys, bucket, f"sim-data/{job_id}/")
        await second.start()
        await that(
            lambda: not store.keys(bucket, f"sim-data/{job_id}/"), "the files are still there"
        )
