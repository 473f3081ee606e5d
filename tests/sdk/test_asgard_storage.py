"""AsgardStorage as its documents spell it, and as an author would try it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard import AsgardStorage, Result, Run
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    InvalidFieldError,
    LengthMismatchError,
    NotFoundError,
)

from tests.sdk.homes import Home


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of a storage, for what is true of folders alone."""
    return tmp_path / "folder"


@pytest.fixture
def folder(place: Path) -> AsgardStorage:
    return AsgardStorage(place, durability="relaxed")


def test_a_result_is_added_by_run_or_by_id_and_the_run_passed_is_updated(
    storage: AsgardStorage,
) -> None:
    run = storage.create_run(name="My Simulation", equation="int(f, x) = g")
    before = run.updated_at
    first = storage.add_result(run, result_type="Solution1D", data={"x": [1.0]})
    second = storage.add_result(run_id=run.id, result_type="Solution1D", data={"x": [2.0]})
    third = storage.add_result(run, "Solution1D", {"x": [3.0]}, {"title": "three"})
    fourth = storage.add_result(run.id, "Solution1D", {"x": [4.0]})
    assert isinstance(first, Result)
    assert [result.id for result in run.results] == [first.id, third.id]
    assert run.updated_at > before
    ids = [first.id, second.id, third.id, fourth.id]
    for loaded in (
        storage.get_run(run.id),
        storage.get_run_with_results(run.id),
        storage.load_run(run.id),
    ):
        assert isinstance(loaded, Run)
        assert [result.id for result in loaded.results] == ids
        assert [result.data["x"] for result in loaded.results] == [[1.0], [2.0], [3.0], [4.0]]
    assert loaded.uuid == run.id
    assert first.uuid == first.id


def test_everything_said_at_creation_is_there_again(storage: AsgardStorage) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
    run = storage.create_run(
        "n",
        "e",
        "c",
        {"seed": 7, "rate": np.float64(0.5), "big": 2**100},
        tags=["a", "b", "a"],
        note="# note",
        status="running",
        id="my-run",
        created_at=when,
    )
    again = storage.load_run("my-run")
    for one in (run, again):
        assert (one.name, one.equation, one.circuit) == ("n", "e", "c")
        assert one.metadata == {"seed": 7, "rate": 0.5, "big": 2**100}
        assert (one.tags, one.note, one.status) == (["a", "b"], "# note", "running")
        assert one.created_at == when
        assert one.finished_at is None


def test_one_line_saves_both_or_none(storage: AsgardStorage) -> None:
    run = storage.save_simulation_result(
        "Quick", "Solution1D", {"c": [1.0, 0.5]}, {"title": "t"}, equation="e", metadata={"k": 1}
    )
    (result,) = storage.get_run(run.id).results
    assert result.display == {"title": "t"}
    assert result.id == run.results[0].id
    with pytest.raises(TypeError, match="bad"):
        storage.save_simulation_result("Never", "Solution1D", {"bad": {1, 2}})
    assert [run.name for run in storage.list_runs()] == ["Quick"]


def test_a_run_is_finished_once_and_may_be_changed(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    assert storage.finish_run(run) is run
    assert run.status == "succeeded"
    finished = run.finished_at
    assert finished is not None
    storage.finish_run(run.id)
    assert storage.load_run(run.id).finished_at == finished
    storage.finish_run(run.id, status="failed")
    changed = storage.update_run(run, name="renamed", tags=["x"], note="n", metadata={"k": 2})
    assert changed is run
    again = storage.load_run(run.id)
    assert (again.name, again.tags, again.note) == ("renamed", ["x"], "n")
    assert (again.metadata, again.status) == ({"k": 2}, "failed")
    assert storage.update_run(run.id, note=None).note is None


def test_results_and_runs_are_deleted_whole(storage: AsgardStorage, home: Home) -> None:
    run = storage.create_run("r")
    first = storage.add_result(run, "T", {"x": np.arange(5000)})
    storage.add_result(run, "T", {"x": np.arange(5000)})
    storage.delete_result(first.id)
    assert len(storage.get_run(run.id).results) == 1
    storage.delete_run(run.id)
    assert storage.list_runs() == []
    assert home.left() == []
    for ask in (
        lambda: storage.delete_run(run.id),
        lambda: storage.load_run(run.id),
        lambda: storage.load_result(first.id),
    ):
        with pytest.raises(FileNotFoundError, match="there is no") as caught:
            ask()
        assert isinstance(caught.value, NotFoundError)
        assert isinstance(caught.value, AsgardError)


def test_runs_are_listed_newest_first_and_a_page_reads_no_more_than_it_shows(
    folder: AsgardStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [folder.create_run(f"run {k}").id for k in range(120)]
    assert [run.id for run in folder.list_runs()] == ids[::-1]
    opened: list[Any] = []
    real = os.open

    def counted(path: Any, *rest: Any, **options: Any) -> int:
        opened.append(path)
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", counted)
    assert [run.id for run in folder.list_runs(limit=7)] == ids[:-8:-1]
    assert len(opened) == 7
    assert folder.list_runs(limit=0) == []


def test_a_backdated_run_is_listed_where_its_time_says(storage: AsgardStorage) -> None:
    now = datetime.now(UTC)
    old = storage.create_run("old", created_at=now - timedelta(days=3))
    new = storage.create_run("new", created_at=now)
    by_hand = storage.create_run("mid", id="mid", created_at=now - timedelta(days=1))
    assert [run.id for run in storage.list_runs()] == [new.id, by_hand.id, old.id]


def test_an_unreadable_document_hides_no_other(
    folder: AsgardStorage, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = folder.create_run("r")
    broken = folder.add_result(run, "T", {"x": 1})
    folder.add_result(run, "T", {"x": 2})
    (place / "results" / f"{broken.id}.json").write_text("{")
    (place / "runs" / "half.json").write_text("{")
    with caplog.at_level(logging.WARNING, "gimle.asgard"):
        assert [one.id for one in folder.list_runs()] == [run.id]
        assert [one.data["x"] for one in folder.get_run(run.id).results] == [2]
    assert "half" in caplog.text
    assert broken.id in caplog.text


def test_a_result_grows_and_shows_what_it_has(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    curve = storage.add_result(run, "OptimizationResult", {"loss": [1.0], "parameters": {"w": [0]}})
    for step in range(1, 6):
        assert storage.append(curve, {"loss": [1 / step], "parameters": {"w": [step]}}) is curve
    assert curve.data["loss"].tolist() == [1.0, 1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert storage.load_result(curve.id).data["parameters"]["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert storage.append(curve.id, {"loss": [0.1], "parameters": {"w": [6]}}, at=6).id == curve.id
    assert len(storage.load_result(curve.id).data["loss"]) == 7


def test_two_who_append_to_their_own_copies_are_told(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    mine = storage.add_result(run, "T", {"x": [1]})
    theirs = storage.load_result(mine.id)
    storage.append(mine, {"x": [2]})
    with pytest.raises(LengthMismatchError, match="2 rows"):
        storage.append(theirs, {"x": [3]})
    storage.append(mine.id, {"x": [3]})
    assert storage.load_result(mine.id).data["x"].tolist() == [1, 2, 3]


def test_threads_may_share_a_storage_and_a_result(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    shared = storage.add_result(run, "T", {"x": []})

    def work() -> None:
        for k in range(10):
            storage.add_result(run_id=run.id, result_type="T", data={"x": np.full(1100, k)})
            storage.append(shared, {"x": [k, k]})

    # Each write to a run in S3 is a race that one of them wins.
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(storage.load_run(run.id).result_ids) == 61
    assert sorted(shared.data["x"].tolist()) == sorted(list(range(10)) * 12)


def test_another_process_sees_a_save_at_once(storage: AsgardStorage, home: Home) -> None:
    run = storage.create_run("from here")
    code = (
        "import sys; from gimle.asgard import AsgardStorage; s = AsgardStorage(sys.argv[1]);"
        "(run,) = s.list_runs(); s.add_result(run, 'T', {'x': [1.5]}); print(run.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, home.where], capture_output=True, text=True, check=True
    )
    assert done.stdout == "from here\n"
    assert [result.data for result in storage.get_run(run.id).results] == [{"x": [1.5]}]


def test_a_later_chdir_does_not_move_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = AsgardStorage("./storage", durability="relaxed")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = storage.create_run("r")
    assert (tmp_path / "storage" / "runs" / f"{run.id}.json").exists()


def test_a_repr_helps(storage: AsgardStorage, home: Home) -> None:
    run = storage.create_run(
        "Exponential ODE", created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    )
    data = {"x": np.zeros(2000, np.float32), "y": np.zeros(3), "n": [1, 2], "d": {}, "s": "text"}
    result = storage.add_result(run, "Solution1D", data, {"title": "exp(x)"})
    storage.finish_run(run)
    shown = f"<Run 'Exponential ODE' {run.id}, 1 result, created 2026-01-02 03:04:05Z, succeeded>"
    assert repr(run) == shown
    assert repr(result) == (
        f"<Result Solution1D 'exp(x)' {result.id} "
        "{x: float32[2000], y: float64[3], n: list[2], d: dict[0], s: str}>"
    )
    assert home.where in repr(storage)


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "x" * 300, "", ".x"])
def test_ids_that_are_no_file_names_are_value_errors(storage: AsgardStorage, bad: str) -> None:
    for ask in (
        lambda: storage.create_run("r", id=bad),
        lambda: storage.add_result(run_id=bad, result_type="T", data={}),
        lambda: storage.append(bad, {"x": [1]}),
        lambda: storage.finish_run(bad),
        lambda: storage.update_run(bad, name="n"),
        lambda: storage.load_run(bad),
        lambda: storage.get_run(bad),
        lambda: storage.load_result(bad),
        lambda: storage.delete_run(bad),
        lambda: storage.delete_result(bad),
    ):
        with pytest.raises(ValueError, match="is not an id; an id is"):
            ask()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "n", "equation": 5}, "equation"),
        ({"name": "n", "metadata": [1]}, "metadata"),
        ({"name": "n", "tags": "abc"}, "tags"),
        ({"name": "n", "tags": [1]}, "tags"),
        ({"name": "n", "status": "great"}, "status"),
        ({"name": "n", "created_at": "today"}, "created_at"),
    ],
)
def test_a_wrong_field_of_a_run_is_named_with_its_mend(
    storage: AsgardStorage, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFieldError, match=f"^{field}: .*; ") as caught:
        storage.create_run(**given)
    assert caught.value.field == field


def test_a_wrong_argument_of_a_result_is_named_with_its_mend(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    other = storage.create_run("other")
    for given, field in (
        ({"result_type": "T", "data": {}}, "run"),
        ({"run": run, "run_id": other.id, "result_type": "T", "data": {}}, "run_id"),
        ({"run": run, "data": {}}, "result_type"),
        ({"run": run, "result_type": "T"}, "data"),
        ({"run": run, "result_type": "T", "data": [1]}, "data"),
        ({"run": run, "result_type": "", "data": {}}, "result_type"),
        ({"run": run, "result_type": "T", "data": {}, "display": 5}, "display"),
    ):
        with pytest.raises(InvalidFieldError, match=f"^{field}: "):
            storage.add_result(**given)
    with pytest.raises(InvalidFieldError, match="status"):
        storage.finish_run(run, status="running")
    with pytest.raises(InvalidFieldError, match="limit"):
        storage.list_runs(limit=-1)
    assert storage.get_run(run.id).results == []


def test_an_id_of_ones_own_makes_a_repeat_safe(storage: AsgardStorage) -> None:
    storage.create_run("r", id="mine")
    storage.add_result("mine", "T", {"x": 1}, id="out")
    with pytest.raises(AlreadyExistsError):
        storage.create_run("r", id="mine")
    with pytest.raises(FileExistsError):
        storage.add_result("mine", "T", {"x": 1}, id="out")


def test_other_schemes_and_no_place_are_refused() -> None:
    for where in (
        "ftp://x/y",
        "",
        "s3://",
        "s3://B/x",
        "s3://bucket/a//b",
        "grpc://host",
        "grpc://host:99999",
        "grpc://host:1/path",
    ):
        with pytest.raises(InvalidFieldError, match=r"^where: "):
            AsgardStorage(where)


def test_the_front_door_is_light() -> None:
    code = (
        "import sys, gimle.asgard, gimle.asgard.v1.run_service_pb2;"
        "print({'numpy', 'httpx', 'typer', 'orjson'} & set(sys.modules));"
        "print(gimle.asgard.__version__, gimle.asgard.AsgardStorage.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light, names = done.stdout.splitlines()
    assert light == "set()"
    assert names.endswith("AsgardStorage")
    assert "AsgardStorage" in dir(__import__("gimle.asgard", fromlist=["x"]))
    with pytest.raises(AttributeError, match="Nonesuch"):
        __import__("gimle.asgard", fromlist=["x"]).Nonesuch  # noqa: B018  # looking is what raises
