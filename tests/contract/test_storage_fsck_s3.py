"""Examining a storage in S3 finds what is not whole; repairing removes only what is old."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder.fsck import OLD_SECONDS, Report
from gimle.asgard.core.growth import references
from gimle.asgard.core.ids import new_id
from gimle.asgard.core.s3 import fsck
from gimle.asgard.core.s3.bucket import Bucket
from gimle.asgard.core.s3.fsck import UnderWay
from gimle.asgard.core.s3.markers import Intent, Marker
from gimle.asgard.core.s3.objects import Objects
from gimle.asgard.core.s3.place import Place, parse_url

from tests.engines import minio, versitygw
from tests.engines.s3_store import Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
# Everything that these tests write is older.
NOW = -60.0


@pytest.fixture(params=list(STORES))
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    server = STORES[request.param]()
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return parse_url(f"s3://{server.bucket()}/some/prefix")


@pytest.fixture
def bucket(place: Place) -> Bucket:
    return Bucket(place)


def a_run(bucket: Bucket, *results: Any) -> str:
    now = datetime.now(UTC)
    run = RunDocument(new_id(now), "r", now, now)
    bucket.create_run(run, [a_result(run.id, data) for data in results])
    return run.id


def a_result(run_id: str, data: Any) -> ResultDocument:
    now = datetime.now(UTC)
    return ResultDocument(new_id(now), run_id, "DiscreteSequence", data, now)


def kinds(report: Report) -> dict[str, int]:
    return Counter(one.kind for one in report.findings)


def examined(place: Place, *, old: float = NOW, **more: Any) -> Report:
    return fsck.examine(place, old_seconds=old, **more)


def a_file(objects: Objects, name: str, size: int) -> str:
    objects.put(f"files/{name}", b"x" * size)
    return f"files/{name}"


@pytest.fixture
def broken(bucket: Bucket, place: Place) -> dict[str, Any]:
    """One of every flaw, and what bytes of it nobody needs."""
    objects = Objects(place)
    healthy = a_run(bucket, {"x": np.arange(2000)})
    orphaned = a_run(bucket, {"x": np.arange(2000)})
    (orphan,) = bucket.read_run(orphaned).results
    objects.delete([f"runs/{orphaned}.json"])
    unlisted = bucket.add_result(a_result(healthy, {"k": 1}))
    bucket.update_run(healthy, lambda old: replace(old, results=(old.results[0], "never-written")))
    lost = bucket.add_result(a_result(healthy, {"x": np.arange(2000)}))
    short = bucket.add_result(a_result(healthy, {"x": np.arange(2000)}))
    for result, body in ((lost, None), (short, b"\x93NUMPY")):
        (ref,) = references(bucket.read_result_document(result.id).data)
        objects.delete([ref.path])
        if body is not None:
            objects.put(ref.path, body)
    objects.put("runs/half.json", b"{")
    objects.put("runs/with space.json", b"{}")
    stray = a_file(objects, "nobody_x.npy", 1_000)
    objects.put("results/gone.json", b"")
    (of_orphan,) = [each for each in objects.list("files") if orphan in each.path]
    (document,) = [each for each in objects.list("results") if orphan in each.path]
    return {
        "stray": stray,
        "unlisted": unlisted.id,
        "run": healthy,
        "orphan": {f"results/{orphan}.json": of_orphan.size + document.size},
    }


FLAWS = {
    "unreadable": 1,
    "missing_array": 2,
    "unlisted": 1,
    "listed_but_missing": 1,
    "orphan_result": 1,
    "orphan_array": 1,
    "unfinished": 1,
    "unknown": 1,
}


def test_a_name_that_a_store_lists_for_a_moment_is_nothing(bucket: Bucket, place: Place) -> None:
    # versitygw links what is put in an object's place to a name of its own, and renames it.
    objects = Objects(place)
    run = a_run(bucket, {"k": 1})
    of_the_store = [f"{folder}/.{run}.json.sgwtmp.17" for folder in ("runs", "results")]
    for path in of_the_store:
        objects.put(path, b"{}")
    assert kinds(examined(place)) == {"unknown": 2}  # it died before it did
    gone: list[str] = []

    def renamed(step: str, count: int) -> None:
        objects.delete(of_the_store)
        gone.append(step)

    assert examined(place, tell=renamed).findings == []
    assert gone, "fsck has ended before it told of a step"


def test_what_no_delete_is_called_is_not_taken_for_one(
    bucket: Bucket, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects(place)
    run = a_run(bucket, {"k": 1})
    (result,) = bucket.read_run(run).results
    # What a store that died while it replaced a marker has left of it.
    Marker("run", f".{run}.sgwtmp.17", run, [result], []).write(objects)
    monkeypatch.setattr(fsck, "FINISHED_AFTER_S", NOW)
    assert examined(place, repair=True).findings == []
    assert bucket.read_result(result).data == {"k": 1}


def test_a_healthy_storage_has_no_findings(bucket: Bucket, place: Place) -> None:
    run = a_run(bucket, {"x": np.arange(2000)})
    growing = bucket.add_result(a_result(run, {"x": [1.0], "deep": [np.arange(2000)]}))
    for value in range(5):
        bucket.append(growing.id, {"x": [float(value)]})
    report = examined(place, deep=True)
    assert report.findings == []
    assert (report.runs, report.results, report.arrays) == (1, 2, 7)
    bucket.delete_run(run)
    assert examined(place).findings == []


def test_every_flaw_is_found_and_nothing_is_changed(
    bucket: Bucket, place: Place, broken: dict[str, Any]
) -> None:
    before = {each.path: each.etag for folder in ("runs", "results", "files")
              for each in Objects(place).list(folder)}  # fmt: skip
    report = examined(place)
    assert kinds(report) == FLAWS
    assert not report.clean
    after = {each.path: each.etag for folder in ("runs", "results", "files")
             for each in Objects(place).list(folder)}  # fmt: skip
    assert after == before


def test_what_is_young_is_left_to_whoever_writes_it(
    bucket: Bucket, place: Place, broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = examined(place, old=OLD_SECONDS, repair=True)
    # What cannot be a writer's who is at it: unreadable, lost, or of a strange name.
    assert kinds(report) == {"unreadable": 1, "missing_array": 2, "unknown": 1}
    assert not any(one.repaired for one in report.findings)
    # Older than any writer takes, and younger than a day: told of, and nothing is removed.
    monkeypatch.setattr(fsck, "FINISHED_AFTER_S", NOW)
    monkeypatch.setattr(fsck, "BARRED_FOR_S", 0)
    report = examined(place, old=OLD_SECONDS, repair=True)
    assert kinds(report) == FLAWS
    assert [one.kind for one in report.findings if one.repaired] == ["unlisted"]


def test_repairing_lists_what_was_not_and_removes_what_nobody_names(
    bucket: Bucket, place: Place, broken: dict[str, Any]
) -> None:
    objects = Objects(place)
    report = examined(place, repair=True)
    assert not objects.there("results/gone.json")
    assert not objects.there(broken["stray"])
    assert broken["unlisted"] in bucket.read_run(broken["run"]).results
    assert "never-written" not in bucket.read_run(broken["run"]).results
    orphan = {one.path: one.size_bytes for one in report.findings if one.kind == "orphan_result"}
    assert orphan == broken["orphan"]
    objects.delete(["runs/half.json", "runs/with space.json"])
    again = examined(place, repair=True)
    assert kinds(again) == {"missing_array": 2}


def test_an_array_that_nobody_names_is_removed_when_it_is_old(bucket: Bucket, place: Place) -> None:
    a_run(bucket, {"x": np.arange(2000)})
    path = a_file(Objects(place), "nobody_x.npy", 1_000)
    (found,) = examined(place, repair=True).findings
    assert (found.path, found.size_bytes, found.repaired) == (path, 1_000, True)
    assert examined(place).findings == []


def test_an_unreadable_result_keeps_every_array(bucket: Bucket, place: Place) -> None:
    objects = Objects(place)
    path = a_file(objects, "nobody_x.npy", 1_000)
    objects.put("results/half.json", b"{")
    assert kinds(examined(place, repair=True)) == {"unreadable": 1}
    assert objects.there(path)


def test_chunks_of_an_append_that_was_never_committed_are_found(
    bucket: Bucket, place: Place
) -> None:
    run = a_run(bucket)
    result = bucket.add_result(a_result(run, {"x": np.arange(2000.0)}))
    bucket.append(result.id, {"x": [1.0]})
    path = a_file(Objects(place), f"{result.id}_x.000007.npy", 300)
    (found,) = examined(place, repair=True).findings
    assert (found.kind, found.path, found.repaired) == ("orphan_array", path, True)
    assert len(bucket.read_result(result.id).data["x"]) == 2001


def test_arrays_that_an_intent_or_a_service_names_are_its_own(bucket: Bucket, place: Place) -> None:
    objects = Objects(place)
    a_run(bucket, {"x": np.arange(2000)})
    Intent(objects, "writing", ["writing_x.npy"])
    for name in ("writing_x.npy", "served_x.npy"):
        a_file(objects, name, 10)
    under_way = UnderWay(files=frozenset({"served_x.npy"}))
    assert examined(place, repair=True, under_way=under_way).findings == []
    assert kinds(examined(place)) == {"orphan_array": 1}


def test_a_result_that_its_service_will_list_is_not_reported(bucket: Bucket, place: Place) -> None:
    run = a_run(bucket, {"k": 1})
    (id,) = bucket.read_run(run).results
    bucket.update_run(run, lambda old: replace(old, results=()))
    assert kinds(examined(place)) == {"unlisted": 1}
    assert examined(place, under_way=UnderWay(results=frozenset({id}))).findings == []


def test_a_delete_that_has_begun_is_finished_by_repairing(
    bucket: Bucket, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects(place)
    run = a_run(bucket, {"x": np.arange(2000)})
    (id,) = bucket.read_run(run).results
    names = [each.path.removeprefix("files/") for each in objects.list("files")]
    Marker("run", run, run, [id], names).write(objects)
    objects.put(f"runs/{run}.json", b"")
    assert examined(place).findings == []  # whoever began it may be at it
    monkeypatch.setattr(fsck, "FINISHED_AFTER_S", NOW)
    assert "unfinished" in kinds(examined(place))
    (done,) = [one for one in examined(place, repair=True).findings if one.kind == "unfinished"]
    assert done.repaired
    assert [
        each.path for folder in ("runs", "results", "files") for each in objects.list(folder)
    ] == []


def test_a_document_that_bars_late_writes_is_its_services_own(
    bucket: Bucket, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects(place)
    a_run(bucket, {"k": 1})
    objects.put("runs/late.json", b"")
    objects.put("results/late.json", b"")
    # Older than any delete takes, and younger than a late write may be.
    monkeypatch.setattr(fsck, "FINISHED_AFTER_S", NOW)
    assert examined(place, old=OLD_SECONDS, repair=True).findings == []
    # As old as it likes, as long as a ledger names it.
    barred = UnderWay(documents=frozenset({"runs/late.json", "results/late.json"}))
    assert examined(place, repair=True, under_way=barred).findings == []
    found = examined(place, repair=True).findings
    assert {(one.kind, one.path, one.repaired) for one in found} == {
        ("unfinished", "runs/late.json", True),
        ("unfinished", "results/late.json", True),
    }


def test_a_place_without_metadata_is_refused(place: Place) -> None:
    Objects(place).put("files/somebody_x.npy", b"x")
    with pytest.raises(StorageUnavailableError, match="not a storage"):
        examined(place, repair=True)
    assert Objects(place).there("files/somebody_x.npy")


def test_examining_beside_writers_finds_and_harms_nothing(bucket: Bucket, place: Place) -> None:
    ended = threading.Event()
    failures: list[BaseException] = []
    rows: dict[str, int] = {}

    def write(number: int) -> None:
        try:
            run = a_run(bucket)
            result = bucket.add_result(a_result(run, {"x": np.arange(1500.0)}))
            rows[result.id] = 1500
            while not ended.is_set() and rows[result.id] < 1600:
                bucket.append(result.id, {"x": [float(number)]})
                rows[result.id] += 1
                gone = a_run(bucket, {"x": np.arange(1500.0)})
                bucket.delete_run(gone)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(5):
            report = fsck.examine(place, repair=True)
            assert report.findings == []
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert failures == []
    for id, length in rows.items():
        assert len(bucket.read_result(id).data["x"]) == length
    assert json.dumps(kinds(fsck.examine(place, deep=True))) == "{}"
