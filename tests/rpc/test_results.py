from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
import pytest_asyncio
from gimle.asgard.core import exact
from gimle.asgard.core.documents import etag
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.rpc.running import Running, a_result, a_service, npy, refusal

CODE = grpc.StatusCode


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path) as running:
        yield running


async def a_run(service: Running) -> str:
    run_id: str = (await service.stub.CreateRun(pb.CreateRunRequest(name="r"))).run.run_id
    return run_id


async def add(service: Running, run_id: str, **fields: Any) -> pb.Result:
    request = pb.AddResultRequest(run_id=run_id, result=a_result(**fields))
    result: pb.Result = (await service.stub.AddResult(request)).result
    return result


async def get(service: Running, result_id: str) -> pb.Result:
    answer = await service.stub.GetResult(pb.GetResultRequest(result_id=result_id))
    result: pb.Result = answer.result
    return result


async def test_an_added_result_lies_in_the_folder_and_its_run_lists_it(service: Running) -> None:
    run_id = await a_run(service)
    result = await add(service, run_id, display=b'{"title":"T"}')
    assert (result.run_id, result.result_type, result.data) == (run_id, "Solution1D", b"")
    assert orjson.loads(result.display) == {"title": "T"}
    body = (service.folder / "results" / f"{result.result_id}.json").read_bytes()
    assert result.etag == etag(body)
    run = (await service.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
    assert (list(run.result_ids), run.result_count) == ([result.result_id], 1)
    assert orjson.loads((service.folder / "runs" / f"{run_id}.json").read_bytes())["results"] == [
        result.result_id
    ]


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":[0.1,1e300,-0.0],"big":{"$int":"18446744073709551616"}}',
        b'{"nan":{"$float":"nan"},"inf":[{"$float":"-inf"}]}',
        b'{"$$own":1,"z":{"$complex":[1.0,-2.0]}}',
        '{"text":"ä \\u0000 🌍","empty":{},"none":null}'.encode(),
    ],
)
async def test_data_comes_back_as_the_value_that_was_sent(service: Running, data: bytes) -> None:
    result = await add(service, await a_run(service), data=data)
    assert orjson.loads((await get(service, result.result_id)).data) == orjson.loads(data)


async def test_long_integers_keep_their_digits_whoever_wrote_them(service: Running) -> None:
    long = 2**70 + 1
    run = await a_run(service)
    sent = await add(service, run, data=b'{"n":%d}' % long)
    assert exact.loads((await get(service, sent.result_id)).data) == {"n": long}
    beside = await add(
        service, run, data=b'{"n":%d,"x":{"$array":"x"}}' % long, arrays={"x": npy(np.arange(2))}
    )
    assert exact.loads((await get(service, beside.result_id)).data)["n"] == long
    # As the json of a script's own language writes it.
    by_hand = service.folder / "results" / "by-hand.json"
    by_hand.write_text(json.dumps({"run_id": run, "data": {"n": long}}))
    assert exact.loads((await get(service, "by-hand")).data) == {"n": long}


async def test_arrays_sent_beside_the_data_are_stored_beside_it(service: Running) -> None:
    x = np.linspace(0, 1, 5_000)
    small = np.arange(3)
    result = await add(
        service,
        await a_run(service),
        data=b'{"x":{"$array":"first"},"y":{"$array":"second"}}',
        arrays={"first": npy(x), "second": npy(small)},
    )
    data = orjson.loads((await get(service, result.result_id)).data)
    assert data["x"] == {
        "$array": f"files/{result.result_id}_x.npy",
        "dtype": "float64",
        "shape": [5_000],
    }
    np.testing.assert_array_equal(np.load(service.folder / data["x"]["$array"]), x)
    assert data["y"]["shape"] == [3]


async def test_data_of_several_megabytes_is_answered_as_it_lies(service: Running) -> None:
    values = [number / 7 for number in range(150_000)]
    result = await add(service, await a_run(service), data=orjson.dumps({"x": values}))
    found = await get(service, result.result_id)
    assert len(found.data) > 2_000_000
    assert orjson.loads(found.data)["x"] == values


async def test_data_over_its_limit_is_refused_and_arrays_are_named_as_the_mend(
    service: Running,
) -> None:
    too_long = b'{"x":"' + b"x" * 16_777_216 + b'"}'
    adding = pb.AddResultRequest(run_id="r", result=a_result(data=too_long))
    code, reason, metadata = await refusal(service.stub.AddResult(adding))
    assert (code, reason) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "arrays" in metadata["mend"]


async def test_a_request_of_more_than_64_mib_is_refused_with_the_limit(service: Running) -> None:
    arrays = {"a": b"x" * (64 * 2**20)}
    adding = pb.AddResultRequest(run_id="r", result=a_result(arrays=arrays))
    expected = (CODE.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", {"limitBytes": str(64 * 2**20)})
    assert await refusal(service.stub.AddResult(adding)) == expected


async def test_results_are_listed_oldest_first_in_pages_without_their_data(
    service: Running,
) -> None:
    run_id = await a_run(service)
    made = [
        await add(service, run_id, create_time=Timestamp(seconds=5_000 - number))
        for number in range(5)
    ]
    token, seen = "", []
    while True:
        request = ListResultsRequest(run_id=run_id, page_size=2, page_token=token)
        page = await service.stub.ListResults(request)
        seen += list(page.results)
        token = page.next_page_token
        if not token:
            break
    assert seen == list(reversed(made))
    assert {result.data for result in seen} == {b""}
    other = await a_run(service)
    first = await service.stub.ListResults(ListResultsRequest(run_id=run_id, page_size=2))
    crossed = ListResultsRequest(run_id=other, page_token=first.next_page_token)
    assert (await refusal(service.stub.ListResults(crossed)))[1] == "PAGE_TOKEN_MISMATCH"


async def test_a_deleted_result_is_gone_from_its_run_and_its_arrays_too(service: Running) -> None:
    run_id = await a_run(service)
    kept = await add(service, run_id)
    dropped = await add(
        service, run_id, data=b'{"x":{"$array":"a"}}', arrays={"a": npy(np.zeros(2_000))}
    )
    request = one_pb.DeleteResultRequest(result_id=dropped.result_id)
    await service.stub.DeleteResult(request)
    run = (await service.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
    assert (list(run.result_ids), run.result_count) == ([kept.result_id], 1)
    assert not list(service.folder.glob("files/*"))
    expected = (CODE.NOT_FOUND, "RESULT_NOT_FOUND", {"resultId": dropped.result_id})
    assert await refusal(service.stub.DeleteResult(request)) == expected
    assert await refusal(service.stub.GetResult(pb.GetResultRequest(**expected_id(expected)))) == (
        expected
    )


def expected_id(refused: tuple[Any, str, dict[str, str]]) -> dict[str, str]:
    return {"result_id": refused[2]["resultId"]}


async def test_an_append_grows_a_result_and_its_length_guards_it(service: Running) -> None:
    result = await add(service, await a_run(service), data=b'{"loss":[3.0,2.0],"lr":0.1}')

    def more(at: int | None, *values: float) -> AppendResultRequest:
        data = orjson.dumps({"loss": values})
        return AppendResultRequest(result_id=result.result_id, data=data, expected_length=at)

    grown = (await service.stub.AppendResult(more(2, 1.0, 0.5))).result
    data = orjson.loads(grown.data)
    assert data["loss"]["shape"] == [4]
    assert data["lr"] == 0.1
    assert grown.etag != result.etag
    assert grown == await get(service, result.result_id)
    # The same rows again are there already; other rows at that place are not.
    assert (await service.stub.AppendResult(more(2, 1.0, 0.5))).result == grown
    expected = (CODE.ABORTED, "LENGTH_MISMATCH", {"length": "4"})
    assert await refusal(service.stub.AppendResult(more(2, 9.0))) == expected
    assert await refusal(service.stub.AppendResult(more(3, 9.0))) == expected
    array = AppendResultRequest(
        result_id=result.result_id,
        data=b'{"loss":{"$array":"a"}}',
        arrays={"a": npy(np.array([0.25]))},
    )
    data = orjson.loads((await service.stub.AppendResult(array)).result.data)
    np.testing.assert_array_equal(
        np.load(service.folder / data["loss"]["$array"]), [3.0, 2.0, 1.0, 0.5, 0.25]
    )


async def test_what_cannot_grow_is_refused_with_the_problem(service: Running) -> None:
    result = await add(service, await a_run(service), data=b'{"x":[1.0],"name":"text"}')
    request = AppendResultRequest(result_id=result.result_id, data=b'{"name":[1.0]}')
    code, reason, metadata = await refusal(service.stub.AppendResult(request))
    assert (code, reason) == (CODE.FAILED_PRECONDITION, "CANNOT_APPEND")
    assert metadata["resultId"] == result.result_id
    assert "name" in metadata["problem"]
    nobody = AppendResultRequest(result_id="nobody", data=b'{"x":[1.0]}')
    assert (await refusal(service.stub.AppendResult(nobody)))[1] == "RESULT_NOT_FOUND"


async def test_a_run_is_saved_with_its_results_at_once(service: Running) -> None:
    request = pb.SaveRunRequest(
        run=pb.CreateRunRequest(name="whole", status=pb.Run.STATUS_RUNNING),
        results=[
            a_result(result_id="second"),
            a_result(
                result_id="first",
                data=b'{"x":{"$array":"a"}}',
                arrays={"a": npy(np.zeros(2_000))},
            ),
        ],
    )
    answer = await service.stub.SaveRun(request)
    assert [result.result_id for result in answer.results] == ["second", "first"]
    assert answer.run.result_count == 2
    run = (await service.stub.GetRun(pb.GetRunRequest(run_id=answer.run.run_id))).run
    assert run == answer.run
    assert sorted(run.result_ids) == ["first", "second"]
    assert (service.folder / "files" / "first_x.npy").exists()


async def test_a_batch_of_which_one_result_is_taken_leaves_nothing(service: Running) -> None:
    run_id = await a_run(service)
    await add(service, run_id, result_id="taken")
    request = pb.SaveRunRequest(
        run=pb.CreateRunRequest(name="whole", run_id="mine"),
        results=[a_result(result_id="new"), a_result(result_id="taken")],
    )
    code, reason, metadata = await refusal(service.stub.SaveRun(request))
    assert (code, reason, metadata) == (CODE.ALREADY_EXISTS, "ALREADY_EXISTS", {"id": "taken"})
    assert {path.stem for path in service.folder.glob("runs/*.json")} == {run_id}
    assert {path.stem for path in service.folder.glob("results/*.json")} == {"taken"}


async def test_a_result_is_drawn_and_named_by_what_it_shows(service: Running) -> None:
    result = await add(
        service,
        await a_run(service),
        data=b'{"x":{"$array":"x"},"computed":{"$array":"y"}}',
        arrays={"x": npy(np.arange(50_000.0)), "y": npy(np.sin(np.arange(50_000.0)))},
    )

    async def draw(**options: Any) -> render_pb.RenderResultResponse:
        request = render_pb.RenderResultRequest(result_id=result.result_id, **options)
        answer: render_pb.RenderResultResponse = await service.stub.RenderResult(request)
        return answer

    whole = await draw(width=300)
    assert whole.body.content_type == "application/json"
    view = orjson.loads(whole.body.data)
    assert (view["kind"], view["n"], view["result_id"]) == ("line", 50_000, result.result_id)
    assert len(view["series"][0]["x"]) < 5_000
    window = await draw(width=300, x_min=10.0, x_max=20.0)
    assert orjson.loads(window.body.data)["series"][0]["reduced"] is False
    assert whole.etag != window.etag
    assert (await draw(width=300)).etag == whole.etag
    appended = AppendResultRequest(
        result_id=result.result_id, data=b'{"x":[50000.0],"computed":[0.0]}'
    )
    await service.stub.AppendResult(appended)
    assert (await draw(width=300)).etag != whole.etag
    nobody = render_pb.RenderResultRequest(result_id="nobody")
    assert (await refusal(service.stub.RenderResult(nobody)))[1] == "RESULT_NOT_FOUND"
    wrong = render_pb.RenderResultRequest(result_id=result.result_id, layer="colour")
    assert (await refusal(service.stub.RenderResult(wrong)))[2]["field"] == "layer"


async def test_a_document_that_cannot_be_read_says_so(service: Running) -> None:
    (service.folder / "results" / "torn.json").write_bytes(b'{"run_id": "r", "data": ')
    code, reason, metadata = await refusal(
        service.stub.GetResult(pb.GetResultRequest(result_id="torn"))
    )
    assert (code, reason, metadata["id"]) == (CODE.DATA_LOSS, "DOCUMENT_UNREADABLE", "torn")
    (service.folder / "runs" / "torn.json").write_bytes(b"[]")
    assert (await refusal(service.stub.GetRun(pb.GetRunRequest(run_id="torn"))))[1] == (
        "DOCUMENT_UNREADABLE"
    )
