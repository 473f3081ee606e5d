"""Workers that die, and processes that keep experiments that do: nothing comes late, or is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from gimle.asgard.v1 import asset_requests_pb2 as asset_pb
from gimle.asgard.v1 import experiment_pb2
from gimle.asgard.v1 import run_service_pb2 as run_pb
from gimle.asgard.v1 import variation_requests_pb2 as pb
from gimle.asgard.v1.asset_pb2 import Asset, OutputOf
from gimle.asgard.v1.new_result_pb2 import NewResult

from tests.cluster.experiment_processes import ExperimentCluster, an_experiment_cluster
from tests.cluster.processes import eventually
from tests.rpc.running import refused

LEASE_S = 5
# For a machine that does much else; the lease itself is looked at by the service's own times.
PATIENCE_S = 60.0
RUNNING, LOST = run_pb.Run.STATUS_RUNNING, run_pb.Run.STATUS_FAILED_LOST


async def run_of(found: ExperimentCluster, id: str, run: int = 0) -> experiment_pb2.VariationRun:
    """A run of the first variation as it is now."""
    async with found.stub() as experiments:
        place = pb.GetVariationRunRequest(experiment_id=id, variation=0, run=run)
        answer: Any = await experiments.GetVariationRun(place, wait_for_ready=True)
        made: experiment_pb2.VariationRun = answer.run
        return made


async def why(call: Any) -> str:
    """The reason for which a call is refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refused(error)[1]
    return "done"


async def document_of(found: ExperimentCluster, run_id: str) -> run_pb.Run | None:
    """What RunService has of a run."""
    async with found.cluster.stub() as runs:
        try:
            answer: Any = await runs.GetRun(run_pb.GetRunRequest(run_id=run_id))
        except grpc.aio.AioRpcError:
            return None
    made: run_pb.Run = answer.run
    return made


async def test_a_worker_that_dies_loses_its_run_within_a_lease_and_nothing_late_is_taken(
    tmp_path: Path,
) -> None:
    async with an_experiment_cluster(tmp_path, replicas=2) as found:
        id = await found.committed()
        place: dict[str, Any] = {"experiment_id": id, "variation": 0, "run": 0}
        with found.worker(id, "one", LEASE_S) as worker:
            token = await worker.token()
            with found.worker(id, "two", LEASE_S) as second:
                assert "another worker has it" in await second.token()
            async with found.asset_stub() as assets:
                request = asset_pb.CreateAssetRequest(
                    asset_type="log", uri="s3://elsewhere/log", output_of=OutputOf(**place),
                    lease_token=token, pending_reasons=["review_required"],
                )  # fmt: skip
                await assets.CreateAsset(request)
            began = time.monotonic()
            # Longer than a lease: its heartbeats keep it.
            while time.monotonic() - began < LEASE_S * 1.5:
                assert (await run_of(found, id)).status == RUNNING
            worker.kill()

        async def lost() -> bool:
            return (await run_of(found, id)).status == LOST

        await eventually(lost, PATIENCE_S, "that the run is lost")
        run = await run_of(found, id)
        silent = run.finish_time.ToDatetime() - run.heartbeat_time.ToDatetime()
        assert LEASE_S <= silent.total_seconds() < 2 * LEASE_S

        async with found.stub() as experiments, found.asset_stub() as assets:
            beat = pb.HeartbeatVariationRunRequest(**place, lease_token=token)
            assert await why(experiments.HeartbeatVariationRun(beat)) == "LEASE_LOST"
            done = pb.SucceedVariationRunRequest(**place, lease_token=token)
            assert await why(experiments.SucceedVariationRun(done)) == "LEASE_LOST"
            assert await why(assets.CreateAsset(request)) == "LEASE_LOST"
            again = pb.StartVariationRunRequest(**place, worker="one")
            assert await why(experiments.StartVariationRun(again)) == "RUN_STATE"
            resumed = await experiments.ResumeVariation(
                pb.ResumeVariationRequest(experiment_id=id, variation=0)
            )
            assert resumed.run.run == 1

        async def told() -> bool:
            document = await document_of(found, run.run_id)
            return document is not None and document.status == LOST

        await eventually(told, PATIENCE_S, "that the document says so")
        async with found.cluster.stub() as runs:
            late = run_pb.AddResultRequest(
                run_id=run.run_id, result=NewResult(result_type="log", data=b"{}")
            )

            async def fenced() -> bool:
                return await why(runs.AddResult(late)) == "RUN_STATE"

            await eventually(fenced, PATIENCE_S, "that RunService refuses results")
            end = run_pb.FinishRunRequest(run_id=run.run_id)
            assert await why(runs.FinishRun(end)) == "RUN_STATE"


async def test_a_pending_output_of_a_lost_run_is_abandoned_with_it(tmp_path: Path) -> None:
    async with an_experiment_cluster(tmp_path) as found:
        id = await found.committed()
        place: dict[str, Any] = {"experiment_id": id, "variation": 0, "run": 0}
        with found.worker(id, "one", 1) as worker:
            token = await worker.token()
            # Of a size that is not known yet: the row of an upload that goes on.
            await pending_output(found, id, place, token)
            worker.kill()

        async def given_up() -> bool:
            async with found.stub() as experiments:
                place = pb.ListRunOutputsRequest(experiment_id=id, variation=0, run=0)
                answer = await experiments.ListRunOutputs(place)
            return [each.state for each in answer.assets] == [Asset.STATE_ABANDONED]

        await eventually(given_up, PATIENCE_S, "that the upload is given up")


async def pending_output(
    found: ExperimentCluster, id: str, place: dict[str, Any], token: str
) -> None:
    """Put an upload that goes on into the table: there is no BlobService here to ask for URLs."""
    async with found.asset_stub() as assets:
        made = await assets.CreateAsset(
            asset_pb.CreateAssetRequest(
                asset_type="log", content=b"{}", output_of=OutputOf(**place), lease_token=token
            )
        )
    connection = await asyncpg.connect(found.cluster.dsn)
    try:
        await connection.execute(
            "UPDATE asgard.assets SET state = 'pending', kind = 'components', size_bytes = NULL,"
            " ready_at = NULL WHERE id = $1",
            made.asset_id,
        )
    finally:
        await connection.close()


async def test_what_was_committed_before_a_kill_is_delivered_after_the_restart(
    tmp_path: Path,
) -> None:
    async with an_experiment_cluster(tmp_path) as found:
        runs = found.cluster.replicas[0]
        await runs.kill()
        id = await found.committed()
        await found.assets[0].kill()
        await runs.start()
        assert await document_of(found, "none") is None
        await found.assets[0].start()
        run = await run_of(found, id)

        async def delivered() -> run_pb.Run | None:
            return await document_of(found, run.run_id)

        document = await eventually(delivered, PATIENCE_S, "that the document is there")
        assert document.status == run_pb.Run.STATUS_PENDING
        assert id.encode() in document.metadata


async def test_another_replica_sweeps_when_the_one_that_did_is_killed(tmp_path: Path) -> None:
    async with an_experiment_cluster(tmp_path, replicas=2) as found:
        for victim in list(found.assets):
            id = await found.committed()
            with found.worker(id, "one", 1) as worker:
                await worker.token()
                worker.kill()
            await victim.kill()
            left = next(each for each in found.assets if each is not victim)

            async def lost(id: str = id, left: Any = left) -> bool:
                async with found.stub(left) as experiments:
                    place = pb.GetVariationRunRequest(experiment_id=id, variation=0, run=0)
                    return bool((await experiments.GetVariationRun(place)).run.status == LOST)

            await eventually(lost, PATIENCE_S, "that the other replica sweeps")
            await victim.start()
