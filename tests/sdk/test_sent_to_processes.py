"""A storage, its runs and its results may be sent to other processes, as those of a pool."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.data.file import FileStorage
from gimle.asgard.core.data.local_cache import LocalCache
from gimle.asgard.core.data.s3 import S3Storage
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.monitor.result import Result
from gimle.asgard.monitor.run import Run

from tests.engines import minio
from tests.sdk.homes import Home
from tests.sdk.servers import Server, until_sent


def add_one(storage: AsgardStorage, run: Run, number: int) -> Result:
    """What a worker does."""
    return storage.add_result(run, "T", {"n": number, "x": np.full(2000, number)})


def test_workers_of_a_pool_save_through_the_storage_they_are_given(home: Home) -> None:
    storage = home.open()
    run = storage.create_run("a sweep")
    # gRPC does not outlive a fork; and a spawned process has nothing but what it is sent.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        sent = [pool.submit(add_one, storage, run, number) for number in range(6)]
        results = [one.result(120) for one in sent]
    assert [result.data["x"][-1] for result in results] == list(range(6))
    there = storage.get_run(run.id).results
    assert {result.id for result in there} == {result.id for result in results}


def test_a_run_and_its_results_are_what_they_were(home: Home) -> None:
    storage = home.open()
    run = storage.save_simulation_result("r", "T", {"x": np.arange(200_000.0)}, note="n")
    again = pickle.loads(pickle.dumps(storage.get_run(run.id)))
    assert (again.id, again.note, again.created_at) == (run.id, "n", run.created_at)
    np.testing.assert_array_equal(again.results[0].data["x"], np.arange(200_000.0))
    loaded = pickle.loads(pickle.dumps(storage.load_result(run.result_ids[0])))
    storage.append(loaded, {"x": [1.0]})
    assert len(storage.load_result(loaded.id).data["x"]) == 200_001


def test_a_spool_is_shared_by_those_a_storage_is_sent_to(tmp_path: Path) -> None:
    server = Server(tmp_path / "storage")
    storage = AsgardStorage(server.where, spool=tmp_path / "spool", timeout=30)
    again = pickle.loads(pickle.dumps(storage))
    run = again.create_run("kept")
    assert [entry.run_id for entry in storage.pending()] == [run.id]
    server.start()
    try:
        until_sent(storage)
        assert storage.load_run(run.id).name == "kept"
    finally:
        server.end()


def test_storages_of_objects_may_be_sent_too(tmp_path: Path) -> None:
    server = minio.server()
    keys = {
        "aws_access_key_id": server.variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": server.variables["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": server.variables["ASGARD_S3_ENDPOINT"],
    }
    for storage in (
        FileStorage({"base_path": tmp_path}),
        S3Storage({"bucket_name": server.bucket(), "region_name": "us-east-1", **keys}),
    ):
        for one in (storage, LocalCache(storage)):
            again = pickle.loads(pickle.dumps(one))
            assert again.path() == one.path()
            assert again.list_objects("anything") == []


def test_a_folder_that_went_away_is_not_made_anew_by_whom_it_is_sent_to(tmp_path: Path) -> None:
    sent = pickle.dumps(AsgardStorage(tmp_path / "gone"))
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageUnavailableError):
        pickle.loads(sent)
    assert not (tmp_path / "gone").exists()
