"""Runs of variations as RunService has them: told twice or too late, they do not go back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from asgard_server.auth.principal import Principal
from asgard_server.run import domain, handlers, limits
from asgard_server.run.belonging import is_said
from asgard_server.run.fencing import Fence
from asgard_server.store.rpc_runs import RpcRuns
from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.errors import InvalidFieldError, StorageUnavailableError
from gimle.asgard.core.experiment_errors import VariationRunStateError
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.run_owner_pb2 import RunOwner

from tests.rpc.running import Running, a_result, a_service, refusal

BODY: dict[str, Any] = {
    "run_id": "01a2283b-4d9b-71fb-88d4-a508cfd4cb66",
    "name": "Damping: a, run 0",
    "status": "pending",
    "created_at": "2026-11-29T12:00:00Z",
    "finished_at": None,
    "owner": "ada",
    "organization_id": "",
    "visibility": "private",
    "metadata": {"experiment_id": "e1", "variation": 0, "run": 0},
}
ENDED = {"status": "failed_lost", "finished_at": "2026-11-29T12:10:00Z"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path) as started:
        yield started


async def document(running: Running) -> pb.Run:
    answer: Any = await running.stub.GetRun(pb.GetRunRequest(run_id=BODY["run_id"]))
    made: pb.Run = answer.run
    return made


async def test_a_run_is_told_from_its_making_to_its_end_each_time_twice(running: Running) -> None:
    runs = RpcRuns(running.channel, "there")
    for status, told in (
        (pb.Run.STATUS_PENDING, {}),
        (pb.Run.STATUS_RUNNING, {"status": "running"}),
        (pb.Run.STATUS_FAILED_LOST, ENDED),
    ):
        for _ in range(2):
            await runs.put({**BODY, **told})
            found = await document(running)
            assert (found.status, found.owner, found.visibility) == (status, "ada", "private")
    assert found.metadata == b'{"experiment_id":"e1","variation":0,"run":0}'
    assert found.finish_time.ToJsonString() == "2026-11-29T12:10:00Z"
    # What comes late changes nothing.
    await runs.put({**BODY, "status": "running"})
    assert (await document(running)).status == pb.Run.STATUS_FAILED_LOST


async def test_whoever_owns_it_now_is_told_and_a_deleted_document_stays_deleted(
    running: Running,
) -> None:
    runs = RpcRuns(running.channel, "there")
    await runs.put(BODY)
    await runs.put({**BODY, "organization_id": "org_1", "visibility": "org_public"})
    found = await document(running)
    assert (found.organization_id, found.visibility) == ("org_1", "org_public")
    await running.stub.DeleteRun(pb.DeleteRunRequest(run_id=BODY["run_id"]))
    await runs.put({**BODY, **ENDED})
    code, *_ = await refusal(running.stub.GetRun(pb.GetRunRequest(run_id=BODY["run_id"])))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_lost_run_takes_no_results_and_no_other_end_but_notes(running: Running) -> None:
    runs, run_id = RpcRuns(running.channel, "there"), BODY["run_id"]
    await runs.put({**BODY, "status": "running"})
    made = await running.stub.AddResult(
        pb.AddResultRequest(run_id=run_id, result=a_result(data=b'{"x":[1],"computed":[1]}'))
    )
    await runs.put({**BODY, **ENDED})
    result_id = made.result.result_id
    large = b'{"x":{"$array":"x","dtype":"float64","shape":[1000000]}}'
    whole = pb.WriteResultRequest(
        add=pb.AddResultRequest(run_id=run_id, result=a_result(data=large))
    )
    more = pb.WriteResultRequest(append=AppendResultRequest(result_id=result_id, data=large))
    rows = granted_pb.CreateResultUploadsRequest.NewUpload(
        result_id="0" * 32, grows_result_id=result_id
    )
    array = rows.arrays.add(key="x", path=["x"], dtype=b'"float64"', shape=[1_000_000])
    array.sha256 = "0" * 64
    # What was believed of it holds for a second.
    await asyncio.sleep(1.1)
    for late in (
        running.stub.AddResult(pb.AddResultRequest(run_id=run_id, result=a_result())),
        running.stub.AppendResult(AppendResultRequest(result_id=result_id, data=b'{"x":[2]}')),
        running.stub.FinishRun(pb.FinishRunRequest(run_id=run_id)),
        # Before anything of it is sent.
        running.stub.WriteResult(iter([whole])),
        running.stub.WriteResult(iter([more])),
        running.stub.CreateResultUploads(granted_pb.CreateResultUploadsRequest(results=[rows])),
    ):
        _, reason, metadata = await refusal(late)
        assert (reason, metadata) == ("RUN_STATE", {"runId": run_id, "status": "failed_lost"})
    await running.stub.UpdateRun(pb.UpdateRunRequest(run_id=run_id, note="why it was lost"))
    assert (await document(running)).note == "why it was lost"


async def test_where_nobody_answers_it_is_to_be_tried_again() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(StorageUnavailableError, match="CreateRun"):
            await RpcRuns(channel, "there").put(BODY)


async def test_whose_a_run_is_and_that_it_goes_on_is_said_by_services_alone() -> None:
    belongs = RunOwner(owner="eve")
    ada, service = Principal("ada"), Principal("asset", kind="service")
    for request in (
        pb.CreateRunRequest(name="a", belongs=belongs),
        pb.UpdateRunRequest(run_id="a", belongs=belongs),
        pb.UpdateRunRequest(run_id="a", belongs=RunOwner(running=True)),
    ):
        with pytest.raises(ForbiddenError, match="by services alone"):
            is_said(request, ada)
    assert not is_said(pb.UpdateRunRequest(run_id="a", note="b"), ada)
    assert is_said(pb.CreateRunRequest(name="a", belongs=belongs), service)
    with pytest.raises(InvalidFieldError, match="status"):
        domain.run_document(domain.NewRun("a", status="pending"), limits.EPOCH)


async def test_that_a_run_is_lost_is_told_by_services_alone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await RpcRuns(running.channel, "there").put({**BODY, "status": "running"})
    lost = pb.FinishRunRequest(run_id=BODY["run_id"], status=pb.Run.STATUS_FAILED_LOST)
    monkeypatch.setattr(handlers, "caller", lambda: Principal("ada"))
    code, *_ = await refusal(running.stub.FinishRun(lost))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await document(running)).status == pb.Run.STATUS_RUNNING
    monkeypatch.setattr(handlers, "caller", lambda: Principal("asset", kind="service"))
    await running.stub.FinishRun(lost)
    assert (await document(running)).status == pb.Run.STATUS_FAILED_LOST


async def test_the_index_is_asked_once_a_second_at_most_for_a_run_that_goes_on() -> None:
    now, asked = [0.0], []

    class Index:
        async def run(self, run_id: str) -> None:
            asked.append(run_id)

    fence = Fence(Index(), now=lambda: now[0])  # type: ignore[arg-type]  # of all it has, what is asked
    for _ in range(5):
        await fence.check("a")
    now[0] = 1.0
    await fence.check("a")
    assert asked == ["a", "a"]


def test_a_run_that_has_ended_does_not_begin_again() -> None:
    run = domain.run_document(domain.NewRun("a"), limits.EPOCH)
    with pytest.raises(VariationRunStateError):
        domain.begun(domain.finished(run, "failed_lost", limits.EPOCH), limits.EPOCH)
