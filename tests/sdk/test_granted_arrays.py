"""Large arrays go straight to the store and come from there: nothing of them passes a service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.client.outgoing import Outgoing
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import AlreadyExistsError, LengthMismatchError
from gimle.asgard.transfer import line, patience

from tests.sdk.array_places import PLACES, Place
from tests.sdk.homes import a_grpc_service


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as opened:
        yield opened


def test_a_large_array_goes_straight_to_its_documented_key_and_comes_back(place: Place) -> None:
    storage = place.open()
    run = storage.create_run("r")
    x = np.linspace(0, 1, 1_000_000)
    small = np.arange(2_000.0)
    result = storage.add_result(run, "Solution1D", {"x": x, "computed": np.sin(x), "s": small})
    names = {f"{result.id}_{field}.npy" for field in ("x", "computed", "s")}
    assert set(place.left()) == names
    if place.bytes is not None:
        assert place.bytes.up > 2 * x.nbytes, "they pass where URLs lead"
    found = storage.load_result(result.id).data
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["computed"], np.sin(x))
    np.testing.assert_array_equal(found["s"], small)
    if place.bytes is not None:
        assert place.bytes.down > 2 * x.nbytes


SAVE = """
import sys, numpy as np
from gimle.asgard import AsgardStorage
storage = AsgardStorage(sys.argv[1], progress=lambda t: print(t.done, flush=True))
values = np.random.default_rng(5).normal(size=16 * 1024 * 1024)
storage.add_result("run", "T", {"x": values}, id="large")
print("saved", flush=True)
"""
MIB = 1 << 20
PART = 32 * MIB


def test_whoever_is_killed_and_begins_again_sends_one_part_again_at_most(place: Place) -> None:
    storage = place.open()
    storage.create_run("r", id="run")
    killed = place.process(SAVE)
    assert killed.stdout is not None
    with killed:
        while int(killed.stdout.readline()) < 80 * MIB:
            pass
        sent = place.bytes.up if place.bytes is not None else 0
        killed.kill()
    assert place.left() == [], "nobody sees what is not whole"
    assert storage.get_run("run").results == []
    with place.process(SAVE) as again:
        said, _ = again.communicate(timeout=100)
    assert again.returncode == 0
    assert said.endswith("saved\n")
    assert place.left() == ["large_x.npy"]
    if place.bytes is not None:
        assert place.bytes.up < 128 * MIB + 2 * PART, "what had arrived is not sent again"
        assert sent < place.bytes.up
    values = np.random.default_rng(5).normal(size=16 * 1024 * 1024)
    found = storage.load_result("large").data["x"]
    np.testing.assert_array_equal(found, values)


def test_a_save_that_is_repeated_after_its_answer_was_lost_is_known(place: Place) -> None:
    storage = place.open()
    run = storage.create_run("r")
    at = datetime(2026, 11, 21, tzinfo=UTC)
    x = np.linspace(0, 1, 300_000)
    home: Any = storage._home
    document = ResultDocument("mine", run.id, "T", {"x": x, "n": 1}, at)
    for _ in range(2):
        home.add_result(document)
    # The same, sent the other way: where nobody lends any more, or a spool sends it later.
    home.connection.arrays._unavailable = True
    home.add_result(document)
    with pytest.raises(AlreadyExistsError):
        home.add_result(replace(document, data={"x": x + 1, "n": 1}))
    home.connection.arrays._unavailable = False
    with pytest.raises(AlreadyExistsError):
        home.add_result(replace(document, data={"x": x + 1, "n": 1}))
    assert place.left() == ["mine_x.npy"]


def test_a_run_is_saved_whole_with_the_arrays_of_its_results(place: Place) -> None:
    storage = place.open()
    x = np.arange(400_000.0).reshape(4, 100_000)
    run = storage.save_simulation_result("r", "StochasticEnsemble", {"paths": x}, id="run")
    (result,) = run.results
    assert place.left() == [f"{result.id}_paths.npy"]
    np.testing.assert_array_equal(storage.load_result(result.id).data["paths"], x)
    storage.append(result, {"paths": x[:, :200_000]})
    found = storage.load_result(result.id).data["paths"]
    np.testing.assert_array_equal(found, np.concatenate([x, x[:, :200_000]], axis=1))
    storage.delete_run("run")
    assert place.left() == []


ROWS = np.random.default_rng(3).normal(size=(400_000, 2))


def test_appended_rows_go_straight_to_the_store(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = place.open()
    run = storage.create_run("r")
    t = np.arange(400_000.0)
    result = storage.add_result(run, "T", {"t": t, "in": {"x": ROWS}, "small": [1.0]})
    streamed: list[str] = []
    parts = Outgoing.parts

    def told(call: Outgoing, *more: Any) -> Any:
        streamed.append(call.method)
        return parts(call, *more)

    monkeypatch.setattr(Outgoing, "parts", told)
    own = place.own.up if place.own is not None else 0
    up = place.bytes.up if place.bytes is not None else 0
    for turn in range(1, 4):
        more = {"t": t + turn * 400_000, "in": {"x": ROWS + turn}}
        storage.append(result, more, at=turn * 400_000)
        storage.append(result, more, at=turn * 400_000)  # its answer may have been lost
    with pytest.raises(LengthMismatchError):
        storage.append(result, {"t": t, "in": {"x": ROWS}}, at=400_000)
    assert not streamed
    if place.bytes is not None:
        assert place.bytes.up - up >= 3 * (t.nbytes + ROWS.nbytes)
    if place.own is not None:
        assert place.own.up - own < 500_000, "of rows nothing passes RunService"
    found = storage.load_result(result.id).data
    np.testing.assert_array_equal(found["t"], np.arange(1_600_000.0))
    np.testing.assert_array_equal(found["in"]["x"], np.concatenate([ROWS + k for k in range(4)]))
    assert found["small"] == [1.0]
    if place.folder is not None:
        assert place.left() == [f"{result.id}_in.x.npy", f"{result.id}_t.npy"]
    storage.finish_run(run.id)
    merged = storage.load_result(result.id).data["in"]["x"]
    np.testing.assert_array_equal(merged, found["in"]["x"])


def test_appended_paths_go_straight_with_the_axis_first_that_grows(place: Place) -> None:
    storage = place.open()
    paths = ROWS.reshape(4, 200_000)
    run = storage.save_simulation_result("r", "StochasticEnsemble", {"paths": paths})
    (result,) = run.results
    up = place.bytes.up if place.bytes is not None else 0
    storage.append(result, {"paths": paths * 2})
    storage.append(result, {"paths": paths * 3})
    if place.bytes is not None:
        assert place.bytes.up - up >= 2 * paths.nbytes
    found = storage.load_result(result.id).data["paths"]
    np.testing.assert_array_equal(found, np.concatenate([paths, paths * 2, paths * 3], axis=1))


def test_rows_that_cannot_stay_as_they_come_are_appended_all_the_same(
    place: Place, tmp_path: Path
) -> None:
    storage, beside = place.open(), AsgardStorage(tmp_path / "beside")
    run = storage.create_run("r")
    beside.create_run("r", id=run.id)
    rows = ROWS[:, 0]
    first = {"wider": rows.astype(np.float32), "list": [1.0, 2.0], "same": rows}
    for field, value in first.items():
        result = storage.add_result(run, "T", {field: value})
        beside.add_result(run.id, "T", {field: value}, id=result.id)
        for home in (storage, beside):
            for turn in range(2):
                home.append(result.id, {field: rows * (turn + 2)})
            home.append(result.id, {field: rows[:3].tolist()})
        expected = beside.load_result(result.id).data[field]
        found = storage.load_result(result.id).data[field]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    wide = rows.astype(ml_dtypes.bfloat16)
    result = storage.add_result(run, "T", {"x": np.tile(wide, 4)})
    storage.append(result, {"x": np.tile(wide, 4)})
    odd = storage.load_result(result.id).data["x"]
    assert odd.dtype == ml_dtypes.bfloat16
    assert odd.tobytes() == np.tile(wide, 8).tobytes()


APPENDING = """
import sys, time, numpy as np
from gimle.asgard import AsgardStorage
where, result = sys.argv[1:]
storage = AsgardStorage(where)
print("ready", flush=True)
rows = np.arange(20_000_000.0)
storage.append(result, {"x": rows}, at=300_000)
"""


def test_whoever_is_killed_while_he_appends_has_appended_all_or_nothing(place: Place) -> None:
    storage = place.open()
    run = storage.create_run("r")
    x = np.arange(300_000.0)
    result = storage.add_result(run, "T", {"x": x})
    process = place.process(APPENDING, result.id)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if place.bytes is not None:
            mark, at = 40_000_000, place.bytes.up
            until = time.monotonic() + 60
            while place.bytes.up < at + mark and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.01)
        process.kill()
    found = storage.load_result(result.id).data["x"]
    assert len(found) in (300_000, 20_300_000)
    np.testing.assert_array_equal(found[:300_000], x)
    rows = np.arange(20_000_000.0)
    storage.append(result, {"x": rows}, at=300_000)
    found = storage.load_result(result.id).data["x"]
    np.testing.assert_array_equal(found, np.concatenate([x, rows]))


def test_where_the_store_is_out_of_reach_arrays_go_through_the_service_and_it_is_said(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(self: line.Origin, *options: object) -> None:
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(line.Origin, "connect", nowhere)
    monkeypatch.setattr(patience.patiently, "__defaults__", (None, 1))
    storage = place.open()
    run = storage.create_run("r")
    x = np.linspace(0, 1, 300_000)
    for _ in range(2):
        result = storage.add_result(run, "T", {"x": x})
        np.testing.assert_array_equal(storage.load_result(result.id).data["x"], x)
    said = [record for record in caplog.records if "through the service" in record.message]
    assert [record.levelname for record in said].count("WARNING") == 1
    assert "ASGARD_S3_PUBLIC_ENDPOINT" in said[0].message


def test_without_a_blob_service_arrays_go_through_the_service_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with a_grpc_service(tmp_path / "home") as home:
        storage = home.open()
        run = storage.create_run("r")
        x = np.linspace(0, 1, 300_000)
        for _ in range(2):
            result = storage.add_result(run, "T", {"x": x})
            np.testing.assert_array_equal(storage.load_result(result.id).data["x"], x)
    said = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert "asgard serve all" in said[0].message
