"""WriteResult: arrays of any size in pieces, stored when all of them are there, or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest
from asgard_server.run import uploads
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest

from tests.rpc.running import Running, a_result, a_service, eventually, npy, refusal

Part = pb.WriteResultRequest
STEP = 1 << 20


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path / "home") as running:
        await running.stub.CreateRun(pb.CreateRunRequest(run_id="run", name="r"))
        yield running


def reference(array: Any, key: str, dtype: Any = None) -> dict[str, Any]:
    return {"$array": key, "dtype": dtype or array.dtype.name, "shape": list(array.shape)}


def pieces(key: str, content: bytes, result: int = 0, step: int = STEP) -> Iterator[Part]:
    for start in range(0, len(content), step):
        part = content[start : start + step]
        yield Part(piece=Part.Piece(key=key, content=part, result=result))


def head(data: Any, **arrays: bytes) -> Part:
    result = a_result(result_id="x", data=orjson.dumps(data), arrays=arrays)
    return Part(add=pb.AddResultRequest(run_id="run", result=result))


def left(service: Running) -> list[str]:
    parts = (service.folder / part for part in ("results", "files"))
    return [file.name for part in parts for file in part.iterdir()]


def on_their_way(service: Running) -> int:
    """How many uploads are kept in files without a name."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            where = os.readlink(entry)
            found += where.startswith(f"{service.folder}/files/") and where.endswith("(deleted)")
    return found


async def test_arrays_in_pieces_are_stored_where_the_data_names_them(service: Running) -> None:
    large = np.arange(400_000.0).reshape(1000, 400)
    odd = np.arange(5000).astype(ml_dtypes.bfloat16)
    small, empty = np.arange(2000), np.empty((0, 3))
    data = {
        "large": reference(large, "a"),
        "deep": [{"odd": reference(odd, "b")}, {"again": reference(large, "a")}],
        "whole": {"$array": "c"},
        "empty": reference(empty, "d"),
        "number": {"$int": "9" * 30},
    }
    parts = [head(data, c=npy(small)), *pieces("b", odd.tobytes(), step=777)]
    answer = await service.stub.WriteResult(iter([*parts, *pieces("a", large.tobytes())]))
    assert answer.add.result.result_id == "x"
    found = AsgardStorage(service.folder).load_result("x").data
    np.testing.assert_array_equal(found["large"], large)
    np.testing.assert_array_equal(found["deep"][1]["again"], large)
    np.testing.assert_array_equal(found["whole"], small)
    assert found["deep"][0]["odd"].dtype == ml_dtypes.bfloat16
    assert found["deep"][0]["odd"].tobytes() == odd.tobytes()
    assert found["empty"].shape == (0, 3)
    assert found["number"] == int("9" * 30)


async def test_a_repeat_is_recognised_and_other_bytes_are_not(service: Running) -> None:
    array = np.arange(300_000.0)
    parts = [head({"x": reference(array, "x")}), *pieces("x", array.tobytes())]
    first = await service.stub.WriteResult(iter(parts))
    again = await service.stub.WriteResult(iter(parts))
    assert again == first
    array[-1] = 0
    other = [parts[0], *pieces("x", array.tobytes())]
    _, reason, _ = await refusal(service.stub.WriteResult(iter(other)))
    assert reason == "ALREADY_EXISTS"
    assert AsgardStorage(service.folder).load_result("x").data["x"][-1] == 299_999


async def test_rows_and_whole_runs_go_in_pieces_too(service: Running) -> None:
    rows = np.arange(200_000.0)
    created = pb.CreateRunRequest(run_id="saved", name="s")
    results = [
        a_result(result_id=f"r{k}", data=orjson.dumps({"x": reference(rows, "x")}))
        for k in range(2)
    ]
    answer = await service.stub.WriteResult(
        iter(
            [
                Part(save=pb.SaveRunRequest(run=created, results=results)),
                *pieces("x", (rows + 1).tobytes(), 1),
                *pieces("x", rows.tobytes(), 0),
            ]
        )
    )
    assert [result.result_id for result in answer.save.results] == ["r0", "r1"]
    more = AppendResultRequest(
        result_id="r1", data=orjson.dumps({"x": reference(rows, "x")}), expected_length=200_000
    )
    for _ in range(2):
        grown = await service.stub.WriteResult(
            iter([Part(append=more), *pieces("x", rows.tobytes())])
        )
    assert orjson.loads(grown.append.result.data)["x"]["shape"] == [400_000]
    found = AsgardStorage(service.folder).load_result("r1").data["x"]
    np.testing.assert_array_equal(found, np.concatenate([rows + 1, rows]))


ARRAY = np.arange(2000.0)
BYTES = ARRAY.tobytes()
HEAD = head({"x": reference(ARRAY, "x")})


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([], "begin with a call"),
        ([Part()], "begin with a call"),
        ([*pieces("x", BYTES)], "begin with a call"),
        ([HEAD, HEAD], "second call"),
        ([HEAD], "ended after 0 of 16,000 bytes"),
        ([HEAD, *pieces("x", BYTES[:-1])], "ended after 15,999 of 16,000 bytes"),
        ([HEAD, *pieces("x", BYTES + b"!")], "more than the 16,000 bytes"),
        ([HEAD, *pieces("x", BYTES), *pieces("x", b"!")], "more than the 16,000 bytes"),
        ([HEAD, *pieces("y", BYTES)], "'y' of result 0 is no array"),
        ([HEAD, *pieces("x", BYTES, 1)], "'x' of result 1 is no array"),
        ([HEAD, *pieces("x", BYTES, -1)], "'x' of result -1 is no array"),
        ([HEAD, *pieces("x", bytes(3 << 20), step=3 << 20)], "send at most 2,097,152"),
        ([head({"x": {"$array": "x"}})], "None is not a dtype"),
        ([head({"x": reference(ARRAY, "x", "float65")})], "'float65' is not a dtype"),
        ([head({"x": reference(ARRAY, "x", "object")})], "'object' is not a dtype"),
        ([head({"x": reference(ARRAY, "x", [["a", "O"]])})], "not a dtype that can be stored"),
        ([head({"x": {**reference(ARRAY, "x"), "shape": [-1]}})], "is not a shape"),
        ([head({"x": {**reference(ARRAY, "x"), "shape": [2**40, 2**40]}})], "too large a shape"),
        ([head({"x": {**reference(ARRAY, "x"), "shape": [1] * 40}})], "too large a shape"),
        (
            [head({"x": reference(ARRAY, "x"), "y": {**reference(ARRAY, "x"), "shape": [1]}})],
            "two arrays 'x'",
        ),
        ([head({"x": reference(ARRAY, "x")}, x=b"nonsense")], "not a .npy file"),
    ],
)
async def test_what_does_not_fit_is_refused_in_words_and_leaves_nothing(
    service: Running, parts: list[Part], says: str
) -> None:
    call = service.stub.WriteResult(iter(parts))
    with pytest.raises(Exception, match=says):
        await call
    assert "INVALID_ARGUMENT" in str(await call.code())
    assert left(service) == []


async def test_arrays_come_one_after_the_other(service: Running) -> None:
    two = head({"x": reference(ARRAY, "x"), "y": reference(ARRAY, "y")})
    mixed = [two, *pieces("x", BYTES[:-8]), *pieces("y", BYTES), *pieces("x", BYTES[-8:])]
    with pytest.raises(Exception, match="ended after 15,992 of 16,000"):
        await service.stub.WriteResult(iter(mixed))
    twice = [two, *pieces("x", BYTES), *pieces("y", BYTES), *pieces("x", BYTES)]
    with pytest.raises(Exception, match="whole already"):
        await service.stub.WriteResult(iter(twice))
    assert left(service) == []


async def test_what_is_not_there_is_said_before_its_arrays_are_sent(service: Running) -> None:
    result = a_result(data=orjson.dumps({"x": reference(ARRAY, "x")}))
    sent = asyncio.Event()

    async def parts(first: Part) -> AsyncIterator[Part]:
        yield first
        await sent.wait()

    lost = Part(add=pb.AddResultRequest(run_id="nothing", result=result))
    assert (await refusal(service.stub.WriteResult(parts(lost))))[1] == "RUN_NOT_FOUND"
    lost = Part(append=AppendResultRequest(result_id="nothing", data=b'{"x":[1]}'))
    assert (await refusal(service.stub.WriteResult(parts(lost))))[1] == "RESULT_NOT_FOUND"


async def test_a_client_that_goes_away_or_says_nothing_more_leaves_nothing(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def parts() -> AsyncIterator[Part]:
        yield HEAD
        yield next(pieces("x", BYTES, step=8000))
        await never.wait()

    call = service.stub.WriteResult(parts())
    await eventually(lambda: on_their_way(service) == 1)
    call.cancel()
    await eventually(lambda: on_their_way(service) == 0)
    monkeypatch.setattr(uploads.Uploads, "idle_seconds", 0.3)
    code, reason, _ = await refusal(service.stub.WriteResult(parts()))
    assert (code.name, reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert left(service) == []


async def test_no_room_for_the_pieces_is_said(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "write_all", full)
    parts = [HEAD, *pieces("x", BYTES)]
    _, reason, _ = await refusal(service.stub.WriteResult(iter(parts)))
    assert reason == "STORAGE_FULL"
    assert left(service) == []


async def test_a_request_that_is_no_message_is_refused_in_words(service: Running) -> None:
    method = "/gimle.asgard.v1.RunService/WriteResult"
    raw: Any = service.channel.stream_unary(method)
    code, reason, _ = await refusal(raw(iter([b"\xff\xff"])))
    assert (code.name, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")


def test_pieces_lie_where_there_is_room(tmp_path: Path) -> None:
    place = uploads.Uploads(str(tmp_path / "gone"))
    with pytest.raises(StorageUnavailableError, match=r"gone\S* is missing"):
        place._file()
    (tmp_path / "gone").mkdir()
    with place._file() as file:
        file.write(b"x")
        assert os.fstat(file.fileno()).st_dev == os.stat(tmp_path).st_dev
        assert os.listdir(tmp_path / "gone") == []
    assert uploads.Uploads().folder == tempfile.gettempdir()
