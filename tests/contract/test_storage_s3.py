"""What is true of storages in S3 alone: races, dead writers, stores that are away."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DocumentError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.core.ids import new_id
from gimle.asgard.core.s3 import append as appending
from gimle.asgard.core.s3 import markers
from gimle.asgard.core.s3.bucket import Bucket
from gimle.asgard.core.s3.objects import PART_BYTES, Objects
from gimle.asgard.core.s3.place import parse_url

from tests.engines import minio, versitygw
from tests.engines.s3_store import Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    server = STORES[request.param]()
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def where(store: Store) -> str:
    return f"s3://{store.bucket()}/some/prefix"


@pytest.fixture
def bucket(where: str) -> Bucket:
    return Bucket(parse_url(where))


def a_run(bucket: Bucket) -> str:
    now = datetime.now(UTC)
    return bucket.create_run(RunDocument(new_id(now), "r", now, now))[0].id


def a_result(run_id: str, data: dict[str, Any], kind: str = "T") -> ResultDocument:
    now = datetime.now(UTC)
    return ResultDocument(new_id(now), run_id, kind, data, now)


def names(bucket: Bucket, folder: str) -> list[str]:
    return [entry.path for entry in bucket._objects.list(folder)]


def test_one_of_many_creates_of_an_id_wins(where: str) -> None:
    buckets = [Bucket(parse_url(where)) for _ in range(8)]
    assert len({bucket.storage_id for bucket in buckets}) == 1
    now = datetime.now(UTC)
    said: list[str] = []

    def create(number: int) -> None:
        try:
            buckets[number].create_run(RunDocument("same", f"run {number}", now, now))
            said.append(f"run {number}")
        except AlreadyExistsError:
            pass

    run_all(partial(create, number) for number in range(8))
    assert [buckets[0].read_run("same").name] == said


def run_all(works: Iterator[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _adds(where: str, run_id: str, grows: str, number: int) -> None:
    bucket = Bucket(parse_url(where))
    for k in range(8):
        bucket.add_result(a_result(run_id, {"x": [number, k]}))
        bucket.append(grows, {"x": [number * 100 + k]}, None)


def test_processes_that_write_one_run_lose_nothing(bucket: Bucket, where: str) -> None:
    run_id = a_run(bucket)
    grows = bucket.add_result(a_result(run_id, {"x": [-1]})).id
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_adds, args=(where, run_id, grows, number)) for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(bucket.read_run(run_id).results) == 1 + 3 * 8
    x = bucket.read_result(grows).data["x"].tolist()
    assert sorted(x) == sorted([-1, *(n * 100 + k for n in range(3) for k in range(8))])
    for number in range(3):  # each one's rows are in the order of its appends
        mine = [value for value in x if value // 100 == number and value >= 0]
        assert mine == sorted(mine)


def test_a_field_grows_by_chunks_that_the_document_names_and_is_merged_at_the_end(
    bucket: Bucket,
) -> None:
    run_id = a_run(bucket)
    paths = np.random.default_rng(1).random((5, 40))
    data = {"t": np.arange(4.0), "paths": paths[:, :4]}
    id = bucket.add_result(a_result(run_id, data, "StochasticEnsemble")).id
    for start in range(4, 40, 4):
        rows = {"t": np.arange(start, start + 4.0), "paths": paths[:, start : start + 4]}
        bucket.append(id, rows, start)
        bucket.append(id, rows, start)  # a repeat changes nothing
    body = json.loads(bucket.read_bytes("result", id) or b"")
    assert body["data"]["paths"]["chunks"] == [[k, 4] for k in range(8)]
    assert f"files/{id}_paths.000007.npy" in names(bucket, "files")
    np.testing.assert_array_equal(bucket.read_result(id).data["paths"], paths)
    ended = datetime.now(UTC)

    def finished(run: RunDocument) -> RunDocument:
        return RunDocument(
            run.id, run.name, run.created_at, run.updated_at, results=run.results, finished_at=ended
        )

    bucket.update_run(run_id, finished)
    assert len(names(bucket, "files")) == 2
    np.testing.assert_array_equal(bucket.read_result(id).data["paths"], paths)
    np.testing.assert_array_equal(bucket.read_result(id).data["t"], np.arange(40.0))


def test_many_chunks_are_put_together_while_a_run_goes_on(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MOST_CHUNKS", 3)
    id = bucket.add_result(a_result(a_run(bucket), {"x": []})).id
    for k in range(11):
        bucket.append(id, {"x": [k]}, k)
        assert len(names(bucket, "files")) <= 4
    assert bucket.read_result(id).data["x"].tolist() == list(range(11))


def test_a_reader_sees_whole_states_while_a_result_grows_and_is_merged(
    bucket: Bucket, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MOST_CHUNKS", 2)
    id = bucket.add_result(a_result(a_run(bucket), {"x": [], "y": []})).id
    ended = threading.Event()

    def write() -> None:
        for k in range(40):
            bucket.append(id, {"x": [k], "y": [-k]}, None)
        ended.set()

    def read() -> None:
        reader = Bucket(parse_url(where))
        last = 0
        while not ended.is_set():
            data = reader.read_result(id).data
            x, y = (np.asarray(data[name]).tolist() for name in "xy")
            assert x == list(range(len(x)))
            assert y == [-k for k in x]
            assert len(x) >= last
            last = len(x)

    run_all(iter((write, read)))
    assert len(bucket.read_result(id).data["x"]) == 40


def test_a_delete_that_died_is_finished_by_the_next_who_opens(
    bucket: Bucket, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = a_run(bucket)
    for _ in range(2):
        bucket.add_result(a_result(run_id, {"x": np.arange(2000)}))
    other = a_run(bucket)
    real, calls = Objects.delete, []

    def dying(objects: Objects, paths: Any) -> None:
        calls.append(list(paths))
        raise KeyboardInterrupt

    monkeypatch.setattr(Objects, "delete", dying)
    with pytest.raises(KeyboardInterrupt):
        bucket.delete_run(run_id)
    monkeypatch.setattr(Objects, "delete", real)
    assert calls
    assert names(bucket, ".asgard/deleting") == [f".asgard/deleting/{run_id}"]
    with pytest.raises(NotFoundError):
        bucket.read_run(run_id)
    assert list(bucket.run_ids_newest_first()) == [other]
    with pytest.raises(NotFoundError):
        bucket.add_result(a_result(run_id, {"x": 1}))
    Bucket(parse_url(where))  # the deleter may still live
    assert len(names(bucket, "files")) == 2
    monkeypatch.setattr(markers, "FINISHED_AFTER_S", -60)  # whatever the clocks say
    Bucket(parse_url(where))
    left = [name for folder in ("runs", "results", "files", ".asgard/deleting")
            for name in names(bucket, folder)]  # fmt: skip
    assert left == [f"runs/{other}.json"]


def test_a_delete_that_is_asked_again_answers_when_nothing_is_left(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = a_run(bucket)
    bucket.add_result(a_result(run_id, {"x": np.arange(2000)}))
    real = Objects.delete

    def dying(objects: Objects, paths: Any) -> None:
        real(objects, paths)  # the run, and then it dies
        raise KeyboardInterrupt

    monkeypatch.setattr(Objects, "delete", dying)
    with pytest.raises(KeyboardInterrupt):
        bucket.delete_run(run_id)
    monkeypatch.setattr(Objects, "delete", real)
    with pytest.raises(NotFoundError):
        bucket.delete_run(run_id)
    left = [names(bucket, folder) for folder in ("runs", "results", "files", ".asgard/deleting")]
    assert left == [[], [], [], []]


def test_nothing_is_removed_because_something_else_is_missing(
    bucket: Bucket, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "FINISHED_AFTER_S", -60)  # whatever the clocks say
    monkeypatch.setattr(markers, "SWEPT_AFTER_S", -60)  # whatever the clocks say
    put = bucket._objects.put
    put("files/lonely_x.npy", b"an array without a result")
    put("results/lonely.json", orjson.dumps({"id": "lonely", "run_id": "missing"}))
    run_id = a_run(bucket)
    put(f".asgard/deleting/{run_id}", orjson.dumps(
        {"kind": "run", "run": run_id, "results": [], "files": ["lonely_x.npy"]}))  # fmt: skip
    put(".asgard/intents/dead.1", orjson.dumps({"result": "dead", "files": ["lonely_x.npy"]}))
    put(".asgard/intents/broken.1", b"{")
    Bucket(parse_url(where))
    assert names(bucket, "files") == ["files/lonely_x.npy"]
    assert names(bucket, "results") == ["results/lonely.json"]
    assert bucket.read_run(run_id).name == "r"  # its delete never began


def test_what_a_dead_writer_named_is_swept_and_no_more(
    bucket: Bucket, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = a_run(bucket)
    kept = bucket.add_result(a_result(run_id, {"x": np.arange(2000)}))
    put = bucket._objects.put
    put("files/dead_x.npy", b"half")
    put(".asgard/intents/dead.1", orjson.dumps({"result": "dead", "files": ["dead_x.npy"]}))
    said = {"result": kept.id, "files": [f"{kept.id}_x.npy"]}
    put(f".asgard/intents/{kept.id}.1", orjson.dumps(said))
    Bucket(parse_url(where))
    assert "files/dead_x.npy" in names(bucket, "files")
    monkeypatch.setattr(markers, "SWEPT_AFTER_S", -60)  # whatever the clocks say
    Bucket(parse_url(where))
    assert names(bucket, "files") == [f"files/{kept.id}_x.npy"]
    assert names(bucket, ".asgard/intents") == []


def test_an_array_of_many_parts_comes_back(bucket: Bucket) -> None:
    array = np.arange(PART_BYTES // 8 + 1000, dtype=np.float64)
    id = bucket.add_result(a_result(a_run(bucket), {"x": array})).id
    assert np.array_equal(bucket.read_result(id).data["x"], array)


def test_an_array_lost_is_said_so(bucket: Bucket) -> None:
    id = bucket.add_result(a_result(a_run(bucket), {"x": np.arange(2000)})).id
    bucket._objects.delete([f"files/{id}_x.npy"])
    with pytest.raises(DocumentError, match="is missing"):
        bucket.read_result(id)


def test_a_store_that_is_away_says_so_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    store = minio.server()
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(parse_url(f"s3://{store.bucket()}/p"))
    run_id = a_run(bucket)
    store.stop(signal.SIGKILL)
    try:
        with pytest.raises(StorageUnavailableError, match="is the store running"):
            bucket.add_result(a_result(run_id, {"x": 1}))
    finally:
        store.start()
    bucket.add_result(a_result(run_id, {"x": 2}))
    assert len(bucket.read_run(run_id).results) == 1


def _forks(where: str) -> None:
    bucket = Bucket(parse_url(where))
    run_id = a_run(bucket)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for _ in range(5):
                bucket.add_result(a_result(run_id, {"x": 1}))
            status = 0
        finally:
            os._exit(status)
    for _ in range(5):
        bucket.add_result(a_result(run_id, {"x": 2}))
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ended == (pid, 0)
    assert len(bucket.read_run(run_id).results) == 10


def test_a_forked_child_has_connections_of_its_own(where: str) -> None:
    # From a process of its own: this one may have threads of JAX, which must not be forked.
    process = multiprocessing.get_context("spawn").Process(target=_forks, args=(where,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
