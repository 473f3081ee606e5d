from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest_asyncio
from gimle.asgard.core.documents import decode_run, etag
from gimle.asgard.core.ids import id_time
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tests.rpc.running import Refusal, Running, a_result, a_service, refusal

CODE = grpc.StatusCode


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path) as running:
        yield running


async def create(service: Running, **fields: Any) -> pb.Run:
    answer = await service.stub.CreateRun(pb.CreateRunRequest(**{"name": "pendulum", **fields}))
    run: pb.Run = answer.run
    return run


async def get(service: Running, run_id: str) -> pb.Run:
    run: pb.Run = (await service.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
    return run


async def test_a_created_run_lies_in_the_folder_and_is_answered_whole(service: Running) -> None:
    run = await create(
        service,
        equation="diff(x, t) = -x",
        circuit="register(1)",
        metadata=b'{"big":{"$int":"123456789012345678901234567890"},"x":0.1}',
        tags=["demo", "b"],
        note="# Notes",
        status=pb.Run.STATUS_RUNNING,
    )
    body = (service.folder / "runs" / f"{run.run_id}.json").read_bytes()
    stored = decode_run(body)
    assert stored.metadata["big"] == 123456789012345678901234567890
    assert orjson.loads(run.metadata) == orjson.loads(body)["metadata"]
    assert (run.name, run.equation, run.circuit) == ("pendulum", "diff(x, t) = -x", "register(1)")
    assert list(run.tags) == ["demo", "b"]
    assert (run.note, run.status, run.live) == ("# Notes", pb.Run.STATUS_RUNNING, True)
    assert run.etag == etag(body)
    assert await get(service, run.run_id) == run


async def test_what_is_not_set_stays_absent(service: Running) -> None:
    run = await get(service, (await create(service)).run_id)
    for name in ("equation", "circuit", "note", "finish_time"):
        assert not run.HasField(name)
    assert (run.metadata, run.status, run.result_count) == (b"{}", pb.Run.STATUS_UNSPECIFIED, 0)
    assert run.live


async def test_a_run_keeps_the_time_it_began(service: Running) -> None:
    began = Timestamp(seconds=1_600_000_000, nanos=123_456_000)
    run = await create(service, create_time=began)
    assert run.create_time == began
    moment = id_time(run.run_id)
    assert moment is not None
    assert moment.timestamp() == 1_600_000_000.123456


async def test_a_run_that_nobody_has_is_not_found(service: Running) -> None:
    expected = (CODE.NOT_FOUND, "RUN_NOT_FOUND", {"runId": "nobody"})
    stub = service.stub
    assert await refusal(stub.GetRun(pb.GetRunRequest(run_id="nobody"))) == expected
    change = pb.UpdateRunRequest(run_id="nobody", note="x")
    assert await refusal(stub.UpdateRun(change)) == expected
    seen = pb.UpdateRunRequest(run_id="nobody", note="x", etag="e")
    assert await refusal(stub.UpdateRun(seen)) == expected
    assert await refusal(stub.FinishRun(pb.FinishRunRequest(run_id="nobody"))) == expected
    assert await refusal(stub.DeleteRun(pb.DeleteRunRequest(run_id="nobody"))) == expected
    assert await refusal(stub.ListResults(ListResultsRequest(run_id="nobody"))) == expected
    adding = pb.AddResultRequest(run_id="nobody", result=a_result())
    assert await refusal(stub.AddResult(adding)) == expected


async def test_lists_are_newest_first_and_pages_join_without_gap_or_repeat(
    service: Running,
) -> None:
    made = [
        await create(service, name=f"run {number}", create_time=Timestamp(seconds=1_000 + number))
        for number in range(7)
    ]
    token, seen = "", []
    while True:
        page = await service.stub.ListRuns(pb.ListRunsRequest(page_size=3, page_token=token))
        assert page.total_size == 7
        seen += [run.run_id for run in page.runs]
        token = page.next_page_token
        if not token:
            break
        assert len(page.runs) == 3
    assert seen == [run.run_id for run in reversed(made)]


async def test_a_run_added_between_two_pages_does_not_move_the_second(service: Running) -> None:
    for number in range(4):
        await create(service, name=f"old {number}", create_time=Timestamp(seconds=1_000 + number))
    first = await service.stub.ListRuns(pb.ListRunsRequest(page_size=2))
    await create(service, name="new", create_time=Timestamp(seconds=2_000))
    request = pb.ListRunsRequest(page_size=2, page_token=first.next_page_token)
    second = await service.stub.ListRuns(request)
    assert [run.name for run in (*first.runs, *second.runs)] == ["old 3", "old 2", "old 1", "old 0"]


async def test_a_search_finds_every_word_in_any_field_and_case(service: Running) -> None:
    await create(service, name="Damped Pendulum", note="with friction")
    await create(service, name="Heat", equation="diff(u, t)", metadata=b'{"who":"Noether"}')
    await create(service, name="Pendulum", tags=["friction"])

    async def found(query: str) -> set[str]:
        page = await service.stub.ListRuns(pb.ListRunsRequest(query=query))
        return {run.name for run in page.runs}

    assert await found("pendulum FRICTION") == {"Damped Pendulum", "Pendulum"}
    assert await found("noether") == {"Heat"}
    assert await found("diff(u") == {"Heat"}
    assert await found("nothing at all") == set()


async def test_a_page_token_of_another_search_is_refused(service: Running) -> None:
    for _ in range(3):
        await create(service)
    page = await service.stub.ListRuns(pb.ListRunsRequest(page_size=1))
    other = pb.ListRunsRequest(page_size=1, page_token=page.next_page_token, query="x")
    expected: Refusal = (CODE.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH", {})
    assert await refusal(service.stub.ListRuns(other)) == expected
    garbage = pb.ListRunsRequest(page_token="nonsense")
    assert await refusal(service.stub.ListRuns(garbage)) == expected
    # Another page size is no other list.
    larger = pb.ListRunsRequest(page_size=2, page_token=page.next_page_token)
    assert len((await service.stub.ListRuns(larger)).runs) == 2


async def test_an_update_without_a_mask_changes_what_it_sets(service: Running) -> None:
    run = await create(service, note="old", tags=["a"], metadata=b'{"k":1}')
    request = pb.UpdateRunRequest(run_id=run.run_id, note="new")
    changed = (await service.stub.UpdateRun(request)).run
    assert (changed.note, list(changed.tags), changed.metadata) == ("new", ["a"], b'{"k":1}')
    assert changed.etag != run.etag
    assert changed == await get(service, run.run_id)


async def test_an_update_with_a_mask_clears_what_it_names_and_does_not_set(
    service: Running,
) -> None:
    run = await create(service, note="old", tags=["a"], metadata=b'{"k":1}', equation="x = 1")
    mask = FieldMask(paths=["note", "tags", "metadata"])
    request = pb.UpdateRunRequest(run_id=run.run_id, update_mask=mask)
    changed = (await service.stub.UpdateRun(request)).run
    assert not changed.HasField("note")
    assert (list(changed.tags), changed.metadata) == ([], b"{}")
    assert changed.equation == "x = 1"


async def test_an_etag_guards_an_update_against_another_one(service: Running) -> None:
    run = await create(service)
    first = pb.UpdateRunRequest(run_id=run.run_id, etag=run.etag, note="first")
    changed = (await service.stub.UpdateRun(first)).run
    second = pb.UpdateRunRequest(run_id=run.run_id, etag=run.etag, note="second")
    expected = (CODE.ABORTED, "ETAG_MISMATCH", {"etag": changed.etag})
    assert await refusal(service.stub.UpdateRun(second)) == expected
    assert (await get(service, run.run_id)).note == "first"
    third = pb.UpdateRunRequest(run_id=run.run_id, etag=changed.etag, note="third")
    assert (await service.stub.UpdateRun(third)).run.note == "third"


async def test_an_etag_holds_for_a_document_written_by_hand(service: Running) -> None:
    path = service.folder / "runs" / "by-hand.json"
    path.write_text('{\n  "id": "by-hand",\n  "name": "mine",\n  "lab": "cellar"\n}\n')
    run = await get(service, "by-hand")
    assert run.etag == etag(path.read_bytes())
    request = pb.UpdateRunRequest(run_id="by-hand", etag=run.etag, note="seen")
    assert (await service.stub.UpdateRun(request)).run.note == "seen"
    assert orjson.loads(path.read_bytes())["lab"] == "cellar"


async def test_finishing_says_how_a_run_ended_and_a_repeat_changes_nothing(
    service: Running,
) -> None:
    run = await create(service, status=pb.Run.STATUS_RUNNING)
    request = pb.FinishRunRequest(run_id=run.run_id)
    ended = (await service.stub.FinishRun(request)).run
    assert (ended.status, ended.live) == (pb.Run.STATUS_SUCCEEDED, False)
    assert ended.HasField("finish_time")
    assert (await service.stub.FinishRun(request)).run == ended
    failed = pb.FinishRunRequest(run_id=run.run_id, status=pb.Run.STATUS_FAILED)
    assert (await service.stub.FinishRun(failed)).run.status == pb.Run.STATUS_FAILED
    when = Timestamp(seconds=1_700_000_000, nanos=123_456_000)
    again = pb.FinishRunRequest(run_id=run.run_id, finish_time=when)
    assert (await service.stub.FinishRun(again)).run.finish_time == when
    when = Timestamp(seconds=-1)
    _, reason, info = await refusal(
        service.stub.FinishRun(pb.FinishRunRequest(run_id=run.run_id, finish_time=when))
    )
    assert (reason, info["field"]) == ("INVALID_FIELD", "finish_time")


async def test_a_deleted_run_is_gone_with_everything_of_it(service: Running) -> None:
    run = await create(service)
    adding = pb.AddResultRequest(run_id=run.run_id, result=a_result())
    result = (await service.stub.AddResult(adding)).result
    await service.stub.DeleteRun(pb.DeleteRunRequest(run_id=run.run_id))
    assert not list(service.folder.glob("runs/*.json"))
    assert not list(service.folder.glob("results/*.json"))
    getting = pb.GetRunRequest(run_id=run.run_id)
    assert (await refusal(service.stub.GetRun(getting)))[1] == "RUN_NOT_FOUND"
    getting_result = pb.GetResultRequest(result_id=result.result_id)
    assert (await refusal(service.stub.GetResult(getting_result)))[1] == "RESULT_NOT_FOUND"
    again = pb.DeleteRunRequest(run_id=run.run_id)
    assert (await refusal(service.stub.DeleteRun(again)))[1] == "RUN_NOT_FOUND"
    page = await service.stub.ListRuns(pb.ListRunsRequest())
    assert (list(page.runs), page.total_size) == ([], 0)


async def test_metadata_with_arrays_may_be_changed_and_compared(service: Running) -> None:
    def metadata(n: str) -> bytes:
        return b'{"n":%s,"a":{"$array":[1,2],"dtype":"int64","shape":[2]}}' % n.encode()

    run = await create(service, metadata=metadata("1"))
    for n in ("true", "1.0"):
        wanted = pb.UpdateRunRequest(run_id=run.run_id, metadata=metadata(n), etag=run.etag)
        run = (await service.stub.UpdateRun(wanted)).run
        assert orjson.loads(run.metadata) == orjson.loads(metadata(n))
        assert type(orjson.loads(run.metadata)["n"]) is type(orjson.loads(n))
