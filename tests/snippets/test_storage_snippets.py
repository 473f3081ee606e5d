"""The storage documentation, run as written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engines import minio
from tests.snippets.snippets import run_python

FILE_STORAGE = """
from gimle.asgard.core.data.file import FileStorage

storage = FileStorage({"base_path": "./storage"})
"""

S3_STORAGE = """
from gimle.asgard.core.data.s3 import S3Storage

storage = S3Storage({
    "bucket_name": "my-asgard-bucket",
    "base_path": "experiments/2026-02",
})
"""

S3_STORAGE_WITH_KEYS = """
storage = S3Storage({
    "bucket_name": "my-bucket",
    "base_path": "runs",
    "aws_access_key_id": "AKIA...",
    "aws_secret_access_key": "...",
    "region_name": "eu-west-1",
})
"""

CACHING = """
from gimle.asgard.core.data.local_cache import LocalCache

cached = LocalCache(storage)
cached.list_objects("run")   # hits disk/S3
cached.list_objects("run")   # cache hit
"""

MONITOR_STORAGE = """
from gimle.asgard.monitor.storage import AsgardStorage

storage = AsgardStorage("./storage")
"""

CREATING = """
# Create a run
run = storage.create_run(
    name="Exponential ODE",
    equation="int(f, x) = f",
    circuit="trace(composition(register(x), split))",
)

# Add a result to the run
storage.add_result(
    run,
    result_type="Solution1D",
    data={"coefficients": [1.0, 1.0, 0.5, 0.167]},
    display={"title": "exp(x) approximation"},
)
"""

ONE_LINER = """
run = storage.save_simulation_result(
    name="Quick test",
    result_type="Solution1D",
    data={"coefficients": [1.0, 1.0, 0.5]},
    equation="int(f, x) = f",
)
"""

SERIALISABLE = """
from gimle.asgard.core.data.serialisable import Serialisable

class MyResult(Serialisable):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def to_json_impl(self):
        return {"values": self.values}

    @classmethod
    def from_json_impl(cls, data):
        return cls(values=data["values"])
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_custom_object_goes_through_file_storage_and_its_cache() -> None:
    names = run_python(FILE_STORAGE + SERIALISABLE + CACHING)
    storage, cached = names["storage"], names["cached"]
    cached.save(names["MyResult"]([1, 2.5, "x"]), "first", "my_result")

    assert json.loads(Path("storage/my_result/first.json").read_text())
    assert storage.list_objects("my_result") == cached.list_objects("my_result") == ["first"]
    assert Path(storage.path()).samefile("storage")
    text = storage.load("first", "my_result")
    assert cached.load("first", "my_result") == text
    again = names["Serialisable"].from_json(text)
    assert type(again).__name__ == "MyResult"
    assert again.values == [1, 2.5, "x"]
    assert again.created_at <= again.updated_at

    cached.delete("first", "my_result")
    assert storage.list_objects("my_result") == []
    with pytest.raises(FileNotFoundError):
        storage.load("first", "my_result")


def test_a_run_and_its_result_are_created_listed_loaded_and_deleted() -> None:
    names = run_python(MONITOR_STORAGE + CREATING)
    storage, run = names["storage"], names["run"]

    assert [r.id for r in storage.list_runs()] == [run.id]
    loaded = storage.load_run(run.id)
    assert (loaded.name, loaded.equation) == ("Exponential ODE", "int(f, x) = f")
    assert loaded.circuit == "trace(composition(register(x), split))"
    with_results = storage.get_run_with_results(run.id)
    (result,) = with_results.results
    assert result.data == {"coefficients": [1.0, 1.0, 0.5, 0.167]}
    assert result.display == {"title": "exp(x) approximation"}
    assert storage.load_result(result.id).result_type == "Solution1D"
    assert sorted(p.stem for p in Path("storage/runs").glob("*.json")) == [run.id]
    assert sorted(p.stem for p in Path("storage/results").glob("*.json")) == [result.id]

    storage.delete_result(result.id)
    assert storage.get_run_with_results(run.id).results == []
    storage.delete_run(run.id)
    assert storage.list_runs() == []
    assert list(Path("storage/runs").glob("*.json")) == []


def test_one_line_saves_a_run_with_its_result() -> None:
    names = run_python(MONITOR_STORAGE + ONE_LINER)
    storage, run = names["storage"], names["run"]
    (result,) = storage.get_run(run.id).results
    assert (run.name, run.equation) == ("Quick test", "int(f, x) = f")
    assert result.data == {"coefficients": [1.0, 1.0, 0.5]}


def test_both_layers_see_the_same_folder() -> None:
    names = run_python(MONITOR_STORAGE + ONE_LINER)
    run = names["run"]
    core = run_python(FILE_STORAGE + CACHING)
    assert core["cached"].list_objects("run") == [run.id]
    assert json.loads(core["storage"].load(run.id, "run"))["name"] == "Quick test"


def test_s3_storage_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    store = minio.server()
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    store.client().create_bucket(Bucket="my-asgard-bucket")
    names = run_python(S3_STORAGE + SERIALISABLE)
    names["storage"].save(names["MyResult"]([1, 2]), "first", "my_result")
    assert store.keys("my-asgard-bucket") == ["experiments/2026-02/my_result/first.json"]
    assert run_python(CACHING, storage=names["storage"])["cached"].list_objects("run") == []
    assert run_python(S3_STORAGE_WITH_KEYS, **names)["storage"].path() == "runs"
