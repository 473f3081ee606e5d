from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from gimle.asgard.v1.new_result_pb2 import NewResult
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tests.rpc.running import Running, a_result, a_service, refusal

CODE = grpc.StatusCode

LONG = b'{"a":"%s"}' % (b"x" * 2**20)
DEEP = b"[" * 300 + b"]" * 300
FILE = b'{"$array":"../../etc/passwd","dtype":"float64","shape":[3]}'


def adding(result: NewResult) -> pb.AddResultRequest:
    return pb.AddResultRequest(run_id="r", result=result)


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path) as running:
        yield running


BAD: list[tuple[str, Any, str]] = [
    ("CreateRun", pb.CreateRunRequest(), "name"),
    ("CreateRun", pb.CreateRunRequest(name="a\nb"), "name"),
    ("CreateRun", pb.CreateRunRequest(name="x", run_id="../up"), "run_id"),
    ("CreateRun", pb.CreateRunRequest(name="x", metadata=b"[1]"), "metadata"),
    ("CreateRun", pb.CreateRunRequest(name="x", metadata=b"{"), "metadata"),
    ("CreateRun", pb.CreateRunRequest(name="x", metadata=b'{"a":NaN}'), "metadata"),
    ("CreateRun", pb.CreateRunRequest(name="x", metadata=b'{"a":%s}' % DEEP), "metadata"),
    ("CreateRun", pb.CreateRunRequest(name="x", metadata=b'{"a":[%s]}' % FILE), "metadata"),
    ("UpdateRun", pb.UpdateRunRequest(run_id="r", metadata=b'{"a":%s}' % FILE), "metadata"),
    (
        "CreateRun",
        pb.CreateRunRequest(name="x", metadata=LONG),
        "metadata",
    ),
    ("CreateRun", pb.CreateRunRequest(name="x", tags=["a", "a"]), "tags"),
    ("CreateRun", pb.CreateRunRequest(name="x", status=pb.Run.STATUS_FAILED), "status"),
    ("CreateRun", pb.CreateRunRequest(name="x", status=99), "status"),  # type: ignore[arg-type]  # a number the proto does not know
    ("CreateRun", pb.CreateRunRequest(name="x", create_time=Timestamp(seconds=-1)), "create_time"),
    (
        "CreateRun",
        pb.CreateRunRequest(name="x", create_time=Timestamp(seconds=2**60)),
        "create_time",
    ),
    ("SaveRun", pb.SaveRunRequest(), "run.name"),
    (
        "SaveRun",
        pb.SaveRunRequest(run=pb.CreateRunRequest(name="x"), results=[NewResult()]),
        "results[0].data",
    ),
    ("GetRun", pb.GetRunRequest(), "run_id"),
    ("GetRun", pb.GetRunRequest(run_id="a/../b"), "run_id"),
    ("ListRuns", pb.ListRunsRequest(page_size=-1), "page_size"),
    ("ListRuns", pb.ListRunsRequest(query="x" * 1_001), "query"),
    ("UpdateRun", pb.UpdateRunRequest(run_id="r", name=""), "name"),
    (
        "UpdateRun",
        pb.UpdateRunRequest(run_id="r", update_mask=FieldMask(paths=["results"])),
        "update_mask",
    ),
    (
        "UpdateRun",
        pb.UpdateRunRequest(run_id="r", update_mask=FieldMask(paths=["name"])),
        "name",
    ),
    ("FinishRun", pb.FinishRunRequest(run_id="r", status=pb.Run.STATUS_RUNNING), "status"),
    ("DeleteRun", pb.DeleteRunRequest(run_id="/etc"), "run_id"),
    ("AddResult", pb.AddResultRequest(run_id="r"), "result.data"),
    (
        "AddResult",
        adding(a_result(result_type="")),
        "result.result_type",
    ),
    ("AddResult", adding(a_result(data=b"7")), "result.data"),
    ("AddResult", adding(a_result(display=b"7")), "result.display"),
    ("AddResult", adding(a_result(display=b'{"a":%s}' % FILE)), "result.display"),
    (
        "AddResult",
        adding(a_result(result_id="a b")),
        "result.result_id",
    ),
    (
        "AddResult",
        adding(a_result(arrays={"a": b"?"})),
        "result.arrays['a']",
    ),
    ("AppendResult", AppendResultRequest(result_id="r"), "data"),
    ("AppendResult", AppendResultRequest(result_id="", data=b"{}"), "result_id"),
    (
        "AppendResult",
        AppendResultRequest(result_id="r", data=b'{"x":[1]}', expected_length=-1),
        "expected_length",
    ),
    ("GetResult", pb.GetResultRequest(result_id="..%2f"), "result_id"),
    ("ListResults", ListResultsRequest(run_id="r", page_size=-5), "page_size"),
    ("DeleteResult", one_pb.DeleteResultRequest(), "result_id"),
    ("RenderResult", render_pb.RenderResultRequest(result_id="r", format=9), "format"),  # type: ignore[arg-type]  # a number the proto does not know
    ("WatchRuns", pb.WatchRunsRequest(run_id="a/b"), "run_id"),
]


@pytest.mark.parametrize(("method", "request_", "field"), BAD, ids=lambda value: str(value)[:40])
async def test_bad_input_is_refused_with_the_field_and_its_mend(
    service: Running, method: str, request_: Any, field: str
) -> None:
    code, reason, metadata = await refusal(getattr(service.stub, method)(request_))
    assert (code, reason) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    assert metadata["field"] == field
    assert metadata["mend"]
    assert not list(service.folder.glob("runs/*"))
