from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import orjson
import pytest
import pytest_asyncio
from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_result, encode_run
from gimle.asgard.core.folder import Folder
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import NewResult

from tests.rpc.running import NOON, Running, a_result, a_service, eventually, npy, refusal

CODE = grpc.StatusCode


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path) as running:
        yield running


def a_request(**fields: object) -> pb.CreateRunRequest:
    given = {"run_id": "mine", "name": "r", "metadata": b'{"k":1}', **fields}
    return pb.CreateRunRequest(**given)  # type: ignore[arg-type]  # fields by name


async def test_a_create_repeated_answers_what_exists(service: Running) -> None:
    first = (await service.stub.CreateRun(a_request())).run
    assert (await service.stub.CreateRun(a_request())).run == first
    assert len(list(service.folder.glob("runs/*.json"))) == 1


async def test_a_repeat_is_recognised_although_the_run_was_edited_meanwhile(
    service: Running,
) -> None:
    await service.stub.CreateRun(a_request())
    await service.stub.UpdateRun(pb.UpdateRunRequest(run_id="mine", note="seen", name="renamed"))
    repeated = (await service.stub.CreateRun(a_request())).run
    assert (repeated.note, repeated.name) == ("seen", "renamed")


@pytest.mark.parametrize("other", [{"name": "s"}, {"metadata": b'{"k":2}'}, {"tags": ["t"]}])
async def test_another_request_under_a_taken_id_is_refused(
    service: Running, other: dict[str, object]
) -> None:
    await service.stub.CreateRun(a_request())
    expected = (CODE.ALREADY_EXISTS, "ALREADY_EXISTS", {"id": "mine"})
    assert await refusal(service.stub.CreateRun(a_request(**other))) == expected


async def test_of_many_different_creates_of_one_id_at_once_one_wins(service: Running) -> None:
    answers = await asyncio.gather(
        *(service.stub.CreateRun(a_request(name=f"n{number}")) for number in range(12)),
        return_exceptions=True,
    )
    won = [answer for answer in answers if isinstance(answer, pb.CreateRunResponse)]
    assert len(won) == 1
    stored = orjson.loads((service.folder / "runs" / "mine.json").read_bytes())
    assert stored["name"] == won[0].run.name
    lost = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in lost} == {CODE.ALREADY_EXISTS}
    assert len(lost) == 11


async def test_of_many_same_creates_of_one_id_at_once_all_are_answered(service: Running) -> None:
    answers = await asyncio.gather(*(service.stub.CreateRun(a_request()) for _ in range(12)))
    assert len({answer.run.etag for answer in answers}) == 1


async def test_a_create_that_was_written_but_never_acknowledged_is_recognised(
    service: Running,
) -> None:
    # What a service leaves that was killed between the document and the index.
    run = RunDocument("mine", "r", NOON, NOON, metadata={"k": 1})
    await asyncio.to_thread(Folder(service.folder).create_run, run)
    assert (await service.stub.CreateRun(a_request())).run.name == "r"
    assert (await service.stub.GetRun(pb.GetRunRequest(run_id="mine"))).run.name == "r"
    other = (CODE.ALREADY_EXISTS, "ALREADY_EXISTS", {"id": "mine"})
    assert await refusal(service.stub.CreateRun(a_request(name="s"))) == other


async def test_an_added_result_repeated_is_added_once(service: Running) -> None:
    await service.stub.CreateRun(a_request())
    request = pb.AddResultRequest(
        run_id="mine",
        result=a_result(
            result_id="one", data=b'{"x":{"$array":"a"}}', arrays={"a": npy(np.arange(2_000))}
        ),
    )
    first = (await service.stub.AddResult(request)).result
    assert (await service.stub.AddResult(request)).result == first
    run = (await service.stub.GetRun(pb.GetRunRequest(run_id="mine"))).run
    assert list(run.result_ids) == ["one"]
    request.result.display = b'{"title":"other"}'
    expected = (CODE.ALREADY_EXISTS, "ALREADY_EXISTS", {"id": "one"})
    assert await refusal(service.stub.AddResult(request)) == expected


async def test_a_result_that_was_written_but_never_acknowledged_is_recognised(
    service: Running,
) -> None:
    await service.stub.CreateRun(a_request())
    data = {"x": np.arange(2_000.0), "y": [1, float("nan")]}
    stored = ResultDocument("one", "mine", "Solution1D", data, NOON)
    await asyncio.to_thread(Folder(service.folder).add_result, stored)

    def request(values: np.ndarray) -> pb.AddResultRequest:
        return pb.AddResultRequest(
            run_id="mine",
            result=a_result(
                result_id="one",
                data=b'{"x":{"$array":"a"},"y":[1,{"$float":"nan"}]}',
                arrays={"a": npy(values)},
            ),
        )

    assert (await refusal(service.stub.AddResult(request(np.arange(1.0, 2_001.0)))))[1] == (
        "ALREADY_EXISTS"
    )
    assert (await service.stub.AddResult(request(np.arange(2_000.0)))).result.result_id == "one"


def a_batch(title: bytes = b"t") -> pb.SaveRunRequest:
    return pb.SaveRunRequest(
        run=a_request(),
        results=[
            a_result(result_id="b", display=b'{"title":"%s"}' % title),
            a_result(result_id="a"),
        ],
    )


async def test_a_batch_repeated_answers_what_exists_in_the_order_it_was_given(
    service: Running,
) -> None:
    first = await service.stub.SaveRun(a_batch())
    adding = pb.AddResultRequest(run_id="mine", result=a_result(result_id="later"))
    await service.stub.AddResult(adding)
    again = await service.stub.SaveRun(a_batch())
    assert [result.result_id for result in again.results] == ["b", "a"]
    assert list(again.results) == list(first.results)
    assert again.run.result_count == 3
    expected = (CODE.ALREADY_EXISTS, "ALREADY_EXISTS", {"id": "mine"})
    assert await refusal(service.stub.SaveRun(a_batch(b"other"))) == expected


async def test_a_batch_whose_writer_died_between_results_and_run_is_finished_by_a_repeat(
    service: Running,
) -> None:
    data = {"x": [0, 1], "computed": [1, 2]}
    died = ResultDocument("b", "mine", "Solution1D", data, NOON, {"title": "t"})
    (service.folder / "results" / "b.json").write_bytes(encode_result(died))
    await service.stub.SaveRun(a_batch())
    run = (await service.stub.GetRun(pb.GetRunRequest(run_id="mine"))).run
    assert sorted(run.result_ids) == ["a", "b"]


async def test_a_deleted_id_is_never_given_again(service: Running) -> None:
    await service.stub.SaveRun(a_batch())
    await service.stub.DeleteRun(pb.DeleteRunRequest(run_id="mine"))
    code, reason, metadata = await refusal(service.stub.CreateRun(a_request()))
    assert (code, reason, metadata["id"]) == (CODE.FAILED_PRECONDITION, "DELETED", "mine")
    assert metadata["deletedAt"].endswith("Z")
    assert (await refusal(service.stub.SaveRun(a_batch())))[1] == "DELETED"
    await service.stub.CreateRun(a_request(run_id="other"))
    adding = pb.AddResultRequest(run_id="other", result=a_result(result_id="a"))
    assert (await refusal(service.stub.AddResult(adding)))[1] == "DELETED"


async def test_a_deleted_id_stays_so_over_a_restart(tmp_path: Path) -> None:
    async with a_service(tmp_path) as service:
        await service.stub.CreateRun(a_request())
        await service.stub.DeleteRun(pb.DeleteRunRequest(run_id="mine"))
    async with a_service(tmp_path) as service:
        assert (await refusal(service.stub.CreateRun(a_request())))[1] == "DELETED"


async def test_digests_of_requests_stay_over_a_restart(tmp_path: Path) -> None:
    async with a_service(tmp_path) as service:
        await service.stub.CreateRun(a_request())
        await service.stub.UpdateRun(pb.UpdateRunRequest(run_id="mine", name="renamed"))
    async with a_service(tmp_path) as service:
        assert (await service.stub.CreateRun(a_request())).run.name == "renamed"
        assert (await refusal(service.stub.CreateRun(a_request(name="s"))))[1] == "ALREADY_EXISTS"


async def test_a_run_deleted_by_somebody_else_cannot_come_back_under_its_id(
    service: Running,
) -> None:
    path = service.folder / "runs" / "mine.json"
    path.write_bytes(encode_run(RunDocument("mine", "r", NOON, NOON)))
    await service.stub.GetRun(pb.GetRunRequest(run_id="mine"))
    await asyncio.to_thread(Folder(service.folder).delete_run, "mine")

    async def noticed() -> bool:
        return not (await service.stub.ListRuns(pb.ListRunsRequest())).total_size

    await eventually(noticed)
    assert (await refusal(service.stub.CreateRun(a_request())))[1] == "DELETED"


def with_array(result_id: str) -> NewResult:
    file = npy(np.arange(20_000.0))
    data = b'{"computed":{"$array":"a"}}'
    return NewResult(result_id=result_id, result_type="T", data=data, arrays={"a": file})


async def test_a_repeat_beside_the_first_that_is_still_writing_is_answered_as_it(
    service: Running,
) -> None:
    for n in range(8):
        ids = [f"r{n}-{k}" for k in range(8)]
        batch = pb.SaveRunRequest(
            run=pb.CreateRunRequest(run_id=f"m{n}", name="n"), results=map(with_array, ids)
        )
        impatient = service.stub.SaveRun(batch)
        await asyncio.sleep(0.004 * n)
        impatient.cancel()
        answers = await asyncio.gather(*(service.stub.SaveRun(batch) for _ in range(3)))
        assert [list(each.run.result_ids) for each in answers] == [ids] * 3
        adding = pb.AddResultRequest(run_id=f"m{n}", result=with_array(f"more-{n}"))
        added = await asyncio.gather(*(service.stub.AddResult(adding) for _ in range(4)))
        assert [each.result.result_id for each in added] == [f"more-{n}"] * 4
    assert Folder(service.folder).fsck().findings == []


async def test_a_batch_with_the_id_of_a_deleted_result_is_refused(service: Running) -> None:
    await service.stub.SaveRun(a_batch())
    await service.stub.DeleteResult(one_pb.DeleteResultRequest(result_id="b"))
    for run_id in ("", "other"):
        batch = pb.SaveRunRequest(
            run=pb.CreateRunRequest(run_id=run_id, name="n"), results=[a_result(result_id="b")]
        )
        code, reason, _ = await refusal(service.stub.SaveRun(batch))
        assert (code, reason) == (CODE.FAILED_PRECONDITION, "DELETED")


async def test_a_run_that_cannot_be_read_is_deleted_with_its_results(service: Running) -> None:
    await service.stub.SaveRun(a_batch())
    (service.folder / "runs" / "mine.json").write_text("{")
    await service.stub.DeleteRun(pb.DeleteRunRequest(run_id="mine"))
    assert list((service.folder / "results").iterdir()) == []
    expected = (CODE.NOT_FOUND, "RUN_NOT_FOUND", {"runId": "mine"})
    assert await refusal(service.stub.GetRun(pb.GetRunRequest(run_id="mine"))) == expected
