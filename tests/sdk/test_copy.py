"""Copies between homes: what comes over, what is not sent again, what is never replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.documents import same_run
from gimle.asgard.core.errors import InvalidFieldError, StorageUnavailableError
from gimle.asgard.monitor.copy import Copier, check_apart
from gimle.asgard.monitor.home import open_home

from tests.sdk.copied import copied, fill, said
from tests.sdk.homes import HOMES, Home

KINDS = ("folder", "minio", "grpc")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    with ExitStack() as stack:
        number = count()
        yield lambda kind: stack.enter_context(HOMES[kind](tmp_path / f"{kind}{next(number)}"))


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_all_of_a_storage_comes_over_and_is_not_sent_again(
    opened: Callable[[str], Home], source: str, target: str
) -> None:
    mine, theirs = opened(source).where, opened(target).where
    fill(AsgardStorage(mine))
    before = said(mine)
    report = copied(mine, theirs)
    assert (report.problems, report.notes) == ([], [])
    assert (report.runs_copied, report.results_copied) == (4, 6)
    # A service tells results by their times, whatever the order that it keeps.
    ordered = "grpc" not in (source, target)
    assert said(theirs, ordered=ordered) == said(mine, ordered=ordered)
    assert said(mine) == before
    again = copied(mine, theirs)
    assert again.problems == []
    assert (again.runs_present, again.results_present) == (4, 6)
    assert (again.runs_copied, again.results_copied, again.bytes_sent) == (0, 0, 0)
    assert again.bytes_compared == report.bytes_compared == report.bytes_sent


def test_the_order_of_results_and_the_time_of_the_last_change_come_over(
    opened: Callable[[str], Home],
) -> None:
    first, store, last = (opened(kind).where for kind in ("folder", "minio", "folder"))
    fill(AsgardStorage(first))
    copied(first, store)
    copied(store, last)
    mine, theirs = open_home(first, "relaxed"), open_home(last, "relaxed")
    for run_id in mine.run_ids_newest_first():
        assert theirs.read_run(run_id).updated_at == mine.read_run(run_id).updated_at
        assert theirs.read_run(run_id).results == mine.read_run(run_id).results
        assert same_run(theirs.read_run(run_id), mine.read_run(run_id))


def test_only_the_runs_named_are_copied_and_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    mine, theirs = str(tmp_path / "a"), str(tmp_path / "b")
    fill(AsgardStorage(mine))
    wanted = AsgardStorage(mine).list_runs()[1].id
    report = copied(mine, theirs, wanted, "nothing", wanted)
    assert [run.id for run in AsgardStorage(theirs).list_runs()] == [wanted]
    assert [(one.run_id, one.kind) for one in report.problems] == [("nothing", "missing")]
    assert report.runs_copied == 1


@pytest.mark.parametrize("target", KINDS)
def test_what_has_grown_since_is_added_and_nothing_else_sent(
    opened: Callable[[str], Home], tmp_path: Path, target: str
) -> None:
    mine, theirs = str(tmp_path / "a"), opened(target).where
    storage = AsgardStorage(mine)
    run = storage.create_run("live", status="running")
    still = storage.add_result(run, "T", {"x": np.zeros(100_000)})
    curve = storage.add_result(run, "T", {"loss": [], "deep": {"w": [1.0]}})
    paths = storage.add_result(run, "StochasticEnsemble", {"paths": np.zeros((4, 1000))})
    first = copied(mine, theirs)
    storage.append(curve, {"loss": [0.5, 0.25]})
    storage.append(paths, {"paths": np.ones((4, 10))})
    storage.add_result(run, "T", {"late": 1})
    second = copied(mine, theirs)
    storage.append(curve, {"loss": [0.125]})
    storage.finish_run(run)
    third = copied(mine, theirs)
    assert (first.problems, second.problems, third.problems) == ([], [], [])
    assert (second.results_copied, third.results_copied) == (3, 1)
    assert second.bytes_sent < 2000
    assert said(theirs, ordered=False) == said(mine, ordered=False)
    assert AsgardStorage(theirs).load_result(still.id).data["x"].shape == (100_000,)


def test_something_else_under_the_same_id_is_said_and_stays(tmp_path: Path) -> None:
    mine, theirs = AsgardStorage(tmp_path / "a"), AsgardStorage(tmp_path / "b")
    for storage, x, name in ((mine, 1, "mine"), (theirs, 2, "theirs")):
        storage.create_run(name, id="name")
        run = storage.create_run("r", id="run", created_at=mine.load_run("name").created_at)
        storage.add_result(run, "T", {"x": x}, id="other", created_at=run.created_at)
        storage.create_run("ended", id="ended", created_at=run.created_at)
        run = storage.create_run("more", id="more", created_at=run.created_at)
    mine.add_result("run", "T", {"x": np.arange(2000)}, id="right")
    mine.finish_run("ended", "failed")
    theirs.finish_run("ended")
    theirs.add_result("more", "T", {"x": 1})
    before = said(str(tmp_path / "b"))
    report = copied(str(tmp_path / "a"), str(tmp_path / "b"))
    assert [(one.run_id, one.result_id, one.kind) for one in report.problems] == [
        (id, None if id != "run" else "other", "differs")
        for id in reversed([run.id for run in mine.list_runs()])
    ]
    problems = {one.run_id: one.problem for one in report.problems}
    assert "name" in problems["name"]
    assert "document says something else" in problems["run"]
    assert "succeeded, not failed" in problems["ended"]
    assert "1 result(s) that the source has not got" in problems["more"]
    after = said(str(tmp_path / "b"))
    assert {id: after[id] for id in ("name", "ended", "more")} == {
        id: before[id] for id in ("name", "ended", "more")
    }
    assert theirs.load_result("other").data == {"x": 2}
    assert theirs.load_result("right").data["x"].shape == (2000,)


@pytest.mark.parametrize("target", ["folder", "minio"])
def test_a_damaged_array_at_the_target_is_found(
    opened: Callable[[str], Home], tmp_path: Path, target: str
) -> None:
    source = str(tmp_path / "a")
    storage = AsgardStorage(source)
    run = storage.save_simulation_result("r", "T", {"x": np.arange(5000.0), "y": np.zeros(3)})
    there = opened(target)
    assert copied(source, there.where).problems == []
    name = f"files/{run.results[0].id}_x.npy"
    if there.store is not None:
        bucket, _, prefix = there.where.removeprefix("s3://").partition("/")
        at = {"Bucket": bucket, "Key": f"{prefix}/{name}"}
        body = bytearray(there.store.client().get_object(**at)["Body"].read())
        body[-5] ^= 1
        there.store.client().put_object(**at, Body=bytes(body))
    else:
        assert there.folder is not None
        body = bytearray((there.folder / name).read_bytes())
        body[-5] ^= 1
        (there.folder / name).write_bytes(body)
    assert copied(source, there.where, verify=False).problems == []
    (problem,) = copied(source, there.where).problems
    assert (problem.result_id, problem.kind) == (run.results[0].id, "differs")
    assert "x has the SHA-256" in problem.problem
    if there.folder is not None:
        assert (there.folder / name).read_bytes() == body
        (there.folder / name).write_bytes(body[:1000])
        (problem,) = copied(source, there.where).problems
        assert "damaged" in problem.problem
        (there.folder / name).unlink()
        (problem,) = copied(source, there.where).problems
        assert "damaged" in problem.problem


def test_a_result_lost_at_the_target_is_sent_again(tmp_path: Path) -> None:
    mine, theirs = str(tmp_path / "a"), str(tmp_path / "b")
    fill(AsgardStorage(mine))
    copied(mine, theirs)
    lost = next(run for run in AsgardStorage(mine).list_runs() if run.name == "failed").results[0]
    (tmp_path / "b" / "results" / f"{lost.id}.json").unlink()
    report = copied(mine, theirs)
    assert (report.results_copied, report.runs_copied, report.problems) == (1, 1, [])
    assert said(theirs) == said(mine)


def test_what_the_source_cannot_give_is_said_and_the_rest_comes_over(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "a", tmp_path / "b"
    storage = AsgardStorage(mine)
    fill(storage)
    run = next(run for run in storage.list_runs() if run.name == "everything")
    lost, torn, whole = run.result_ids
    (mine / "results" / f"{lost}.json").unlink()
    (mine / "results" / f"{torn}.json").write_bytes(b"{")
    broken = storage.create_run("broken")
    (mine / "runs" / f"{broken.id}.json").write_bytes(b"{")
    report = copied(str(mine), str(theirs))
    assert {(one.run_id, one.result_id, one.kind) for one in report.problems} == {
        (run.id, lost, "missing"),
        (run.id, torn, "unreadable"),
        (broken.id, None, "unreadable"),
    }
    there = AsgardStorage(theirs).load_run(run.id)
    assert (there.result_ids, there.status) == ([whole], "succeeded")
    assert report.runs_copied == 3


def test_results_that_their_run_does_not_list_come_too(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "a", str(tmp_path / "b")
    storage = AsgardStorage(mine)
    run = storage.save_simulation_result("r", "T", {"x": np.zeros(2000)})
    document = mine / "runs" / f"{run.id}.json"
    said_before = orjson.loads(document.read_bytes())
    document.write_bytes(orjson.dumps(said_before | {"results": []}))
    assert copied(str(mine), theirs).problems == []
    assert [one.id for one in AsgardStorage(theirs).get_run(run.id).results] == run.result_ids


def test_keys_that_nobody_knows_come_over_where_documents_do(
    opened: Callable[[str], Home], tmp_path: Path
) -> None:
    mine = tmp_path / "a"
    run = AsgardStorage(mine).save_simulation_result("r", "T", {"x": 1})
    for document in (*mine.glob("runs/*.json"), *mine.glob("results/*.json")):
        said_before = orjson.loads(document.read_bytes())
        document.write_bytes(orjson.dumps(said_before | {"of_mine": [1]}))
    assert copied(str(mine), str(tmp_path / "b")).notes == []
    for document in (tmp_path / "b").glob("r*/*.json"):
        assert orjson.loads(document.read_bytes())["of_mine"] == [1]
    report = copied(str(mine), opened("grpc").where)
    assert report.problems == []
    assert len([note for note in report.notes if "does not keep its keys of_mine" in note]) == 2
    assert run.id in report.notes[0]


def test_a_run_from_the_future_is_the_same_although_a_service_shows_another_time(
    opened: Callable[[str], Home], tmp_path: Path
) -> None:
    mine, theirs = str(tmp_path / "a"), opened("grpc")
    run = AsgardStorage(mine).create_run("r", created_at=datetime.now(UTC) + timedelta(days=2))
    for _ in range(2):
        report = copied(mine, theirs.where)
        assert report.problems == []
    assert report.runs_present == 1
    assert theirs.folder is not None
    assert AsgardStorage(theirs.folder).load_run(run.id).created_at == run.created_at


def test_what_a_service_refuses_is_said(opened: Callable[[str], Home], tmp_path: Path) -> None:
    mine, theirs = str(tmp_path / "a"), opened("grpc").where
    storage = AsgardStorage(mine)
    storage.create_run("waits", status="pending", id="pending")
    storage.create_run("n" * 501, id="long")
    storage.save_simulation_result("r", "two\nlines", {"x": 1}, id="lines")
    gone = AsgardStorage(theirs).create_run("gone", id="gone")
    storage.create_run("gone", id="gone", created_at=gone.created_at)
    AsgardStorage(theirs).delete_run("gone")
    report = copied(mine, theirs)
    assert {one.run_id for one in report.problems} == {"pending", "long", "lines", "gone"}
    assert {one.kind for one in report.problems} == {"refused"}
    assert [run.id for run in AsgardStorage(theirs).list_runs()] == ["lines"]


class Meddled:
    """A home that does what it is told before it reads a result."""

    def __init__(self, where: str, meddle: Callable[[str], Any]) -> None:
        self._home = open_home(where, "relaxed")
        self._meddle = meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home, name)

    def read_result(self, result_id: str) -> Any:
        read = self._home.read_result(result_id)
        return self._meddle(result_id) or read


def test_a_run_that_changes_meanwhile_is_copied_as_it_is_then_or_reported(tmp_path: Path) -> None:
    mine, theirs = str(tmp_path / "a"), str(tmp_path / "b")
    storage = AsgardStorage(mine)
    run = storage.create_run("r", status="running", tags=["before"])
    curve = storage.add_result(run, "T", {"x": np.arange(2000.0)})
    changed: list[str] = []

    def once(result_id: str) -> None:
        if not changed:
            changed.append(result_id)
            storage.append(curve, {"x": np.arange(10.0)})
            storage.add_result(run, "T", {"late": np.zeros(3000)})
            storage.update_run(run, tags=["after"], note="changed")
            storage.finish_run(run)

    def always(result_id: str) -> None:
        storage.update_run(run, note=f"{len(changed)}")
        storage.append(curve.id, {"x": [1.0]})
        changed.append(result_id)

    report = Copier(Meddled(mine, once), open_home(theirs, "relaxed")).copy()
    assert report.problems == []
    assert said(theirs) == said(mine)
    other = open_home(str(tmp_path / "c"), "relaxed")
    (problem,) = Copier(Meddled(mine, always), other).copy().problems
    assert problem.kind == "changed"
    assert Copier(open_home(mine, "relaxed"), other).copy().problems[0].kind == "differs"


def test_what_comes_back_otherwise_than_it_was_sent_is_said(tmp_path: Path) -> None:
    mine, theirs = str(tmp_path / "a"), str(tmp_path / "b")
    fill(AsgardStorage(mine))
    run = next(run for run in AsgardStorage(mine).list_runs() if run.name == "everything")
    home = open_home(theirs, "relaxed")

    def damage(result_id: str) -> Any:
        if result_id != run.result_ids[1]:
            return None
        read = home.read_result(result_id)
        read.data["large"][0, 0] += 1  # of a map of its own
        return read

    report = Copier(open_home(mine, "relaxed"), Meddled(theirs, damage)).copy()
    assert [(one.result_id, one.kind) for one in report.problems] == [
        (run.result_ids[1], "damaged")
    ]


def test_a_place_is_not_copied_to_itself_nor_from_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for source, target in ((tmp_path / "a", tmp_path / "link"), ("s3://b/p", "s3://b/p/")):
        with pytest.raises(InvalidFieldError, match="where it comes from"):
            check_apart(str(source), str(target))
    check_apart("s3://b/p", "grpc://b:1")


def test_a_home_that_goes_away_ends_the_copy(tmp_path: Path) -> None:
    mine, theirs = str(tmp_path / "a"), tmp_path / "b"
    fill(AsgardStorage(mine))

    def away(result_id: str) -> None:
        shutil.rmtree(theirs, ignore_errors=True)

    copier = Copier(Meddled(mine, away), open_home(str(theirs), "relaxed"), jobs=1)
    with pytest.raises(StorageUnavailableError):
        copier.copy()
    assert json.dumps(copier.report.runs_copied) == "0"
