"""FileStorage, LocalCache and Serialisable: any object under a type and a name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard.core.data.file import FileStorage
from gimle.asgard.core.data.local_cache import LocalCache
from gimle.asgard.core.data.s3 import S3Storage
from gimle.asgard.core.data.serialisable import Serialisable, SerialisableRegistry
from gimle.asgard.core.data.storage import Storage
from gimle.asgard.core.errors import (
    DocumentError,
    InvalidFieldError,
    StorageUnavailableError,
    UnknownTypeError,
)
from gimle.asgard.monitor.storage import AsgardStorage

from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY
from tests.sdk.homes import HOMES


class Measured(Serialisable):
    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = values

    def to_json_impl(self) -> dict[str, Any]:
        return {"values": self.values}

    @classmethod
    def from_json_impl(cls, data: dict[str, Any]) -> Measured:
        return cls(values=data["values"])


class Forgetful(Measured):
    """Does not call the constructor it inherits."""

    def __init__(self, values: Any) -> None:
        self.values = values


@pytest.fixture
def folder(tmp_path: Path) -> FileStorage:
    return FileStorage({"base_path": str(tmp_path / "base"), "durability": "relaxed"})


@pytest.fixture(params=["folder", "minio", "versitygw"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where each test that must pass in a folder and in S3 has its storage."""
    if request.param == "folder":
        yield str(tmp_path / "base")
        return
    with HOMES[request.param](tmp_path / "base") as home:
        yield home.where


@pytest.fixture
def storage(where: str) -> Storage:
    if not where.startswith("s3://"):
        return FileStorage({"base_path": where, "durability": "relaxed"})
    bucket, _, prefix = where.removeprefix("s3://").partition("/")
    return S3Storage({"bucket_name": bucket, "base_path": prefix})


def test_an_object_comes_back_with_its_timestamps(storage: Storage) -> None:
    made = Measured({"x": np.arange(3), "nan": float("nan"), "big": 2**90, "$k": [1]})
    created = made.created_at
    storage.save(made, "first", "my_result")
    assert made.created_at == created
    assert made.updated_at > created
    text = storage.load("first", "my_result")
    again = Serialisable.from_json(text)
    assert type(again) is Measured
    assert (again.created_at, again.updated_at) == (created, made.updated_at)
    assert again.values["big"] == 2**90
    assert np.array_equal(again.values["x"], np.arange(3))
    assert again.to_json() == text
    assert Measured.from_json(text).values["$k"] == [1]


def test_an_object_that_forgot_its_constructor_has_timestamps_all_the_same(
    storage: Storage,
) -> None:
    storage.save(Forgetful([1]), "f", "my_result")
    again = Serialisable.from_json(storage.load("f", "my_result"))
    assert again.created_at <= again.updated_at
    assert Serialisable.from_json(Forgetful([2]).to_json()).to_json_impl() == {"values": [2]}


def test_only_registered_classes_are_ever_made() -> None:
    text = Measured([1]).to_json()
    with pytest.raises(UnknownTypeError, match=r"'os\.system' is registered"):
        Serialisable.from_json(text.replace("Measured", "os.system"))
    with pytest.raises(LookupError):
        SerialisableRegistry.get("Nobody")
    assert SerialisableRegistry.get("Measured") is Measured
    assert "Measured" in SerialisableRegistry.names()
    with pytest.raises(DocumentError, match="it is a Measured, not a Forgetful"):
        Forgetful.from_json(text)
    with pytest.raises(TypeError, match="not a subclass"):
        SerialisableRegistry.register(int)  # type: ignore[arg-type]  # the mistake under test


def test_a_class_defined_again_replaces_the_first() -> None:
    def cell(factor: int) -> type[Serialisable]:
        class Again(Measured):
            def to_json_impl(self) -> dict[str, Any]:
                return {"values": self.values * factor}

        return Again

    cell(1)
    second = cell(2)
    assert SerialisableRegistry.get("Again") is second


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type": "Measured", "data": {}}',
        '{"type": "Measured", "data": [], "created_at": "2026-01-01", "updated_at": "2026-01-01"}',
        '{"type": "Measured", "data": {}, "created_at": "soon", "updated_at": "2026-01-01"}',
    ],
)
def test_text_that_is_no_object_is_a_clear_error(text: str) -> None:
    with pytest.raises(DocumentError):
        Serialisable.from_json(text)


def test_objects_lie_literally_where_the_documents_say(folder: FileStorage, tmp_path: Path) -> None:
    storage = folder
    storage.save(Measured([1]), "größe 1", "my_result")
    path = tmp_path / "base" / "my_result" / "größe 1.json"
    assert json.loads(path.read_text())["type"] == "Measured"
    assert storage.path() == str(tmp_path / "base")
    (path.parent / ".half.json").write_text("{")
    (path.parent / "notes.txt").write_text("")
    storage.save(Measured([2]), "a", "my_result")
    storage.save(Measured([3]), "a", "my_result")
    assert storage.list_objects("my_result") == ["a", "größe 1"]
    assert storage.list_objects("nothing") == []


def test_a_missing_object_is_file_not_found_and_deleting_it_is_silent(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError, match="there is no my_result first"):
        storage.load("first", "my_result")
    storage.delete("first", "my_result")
    storage.delete("first", "run")
    storage.save(Measured([1]), "first", "my_result")
    storage.delete("first", "my_result")
    assert storage.list_objects("my_result") == []


@pytest.mark.parametrize("bad", ["", "..", "../x", "/etc", "a/b", "a\\b", "a\0b", "x" * 300, ".x"])
def test_names_that_are_no_file_names_are_refused(
    storage: Storage, tmp_path: Path, bad: str
) -> None:
    for name, obj_type in ((bad, "my_result"), ("name", bad)):
        for ask in (
            lambda name=name, obj_type=obj_type: storage.save(Measured([1]), name, obj_type),
            lambda name=name, obj_type=obj_type: storage.load(name, obj_type),
            lambda name=name, obj_type=obj_type: storage.delete(name, obj_type),
        ):
            with pytest.raises(ValueError, match=r"^(name|obj_type): .*; "):
                ask()
    with pytest.raises(ValueError, match="obj_type"):
        storage.list_objects(bad)
    assert os.listdir(tmp_path) == []


def test_runs_and_results_of_the_monitor_are_seen_and_deleted_whole(
    storage: Storage, where: str
) -> None:
    monitor = AsgardStorage(where, durability="relaxed")
    run = monitor.create_run("seen")
    result = monitor.add_result(run, "T", {"x": np.arange(2000)})
    storage.save(Measured([1]), "own", "run")
    assert storage.list_objects("run") == sorted(["own", run.id])
    assert storage.list_objects("result") == [result.id]
    assert json.loads(storage.load(run.id, "run"))["name"] == "seen"
    assert json.loads(storage.load(result.id, "result"))["run_id"] == run.id
    storage.delete(result.id, "result")
    assert monitor.get_run(run.id).results == []
    if not where.startswith("s3://"):
        assert os.listdir(Path(where) / "files") == []
    storage.delete(run.id, "run")
    storage.delete("own", "run")
    assert storage.list_objects("run") == []


def test_what_is_not_serialisable_is_a_type_error(storage: Storage) -> None:
    with pytest.raises(TypeError, match="dict is not a Serialisable"):
        storage.save({}, "n", "t")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match=r"data\.values: "):
        storage.save(Measured({1, 2}), "n", "t")


def test_a_wrong_config_names_its_key() -> None:
    for config, field in (
        ({}, "base_path"),
        ({"base_path": ""}, "base_path"),
        ({"base_path": "x", "bucket": 1}, "config"),
        ("./storage", "config"),
        ({"base_path": "x", "durability": "maybe"}, "durability"),
    ):
        with pytest.raises(InvalidFieldError, match=f"^{field}: .*; "):
            FileStorage(config)  # type: ignore[arg-type]  # mistakes under test
    for config, field in (
        ({}, "bucket_name"),
        ({"bucket_name": "B"}, "bucket_name"),
        ({"bucket_name": "bucket", "base_path": "a//b"}, "base_path"),
        ({"bucket_name": "bucket", "bucket": 1}, "config"),
        ("bucket", "config"),
        ({"bucket_name": "bucket", "endpoint_url": "localhost:9000"}, "endpoint_url"),
    ):
        with pytest.raises(InvalidFieldError, match=f"^{field}: .*; "):
            S3Storage(config)  # type: ignore[arg-type]  # mistakes under test


def test_objects_lie_literally_in_the_bucket_and_keys_may_be_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = minio.server()
    bucket = store.bucket()
    for name in store.variables:
        monkeypatch.delenv(name, raising=False)
    given = {
        "bucket_name": bucket,
        "base_path": "experiments/2026-02",
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET_KEY,
        "region_name": "us-east-1",
        "endpoint_url": store.endpoint,
    }
    storage = S3Storage(given)
    storage.save(Measured([1]), "größe 1", "my_result")
    assert storage.path() == "experiments/2026-02"
    assert store.keys(bucket) == ["experiments/2026-02/my_result/größe 1.json"]
    top = S3Storage({**given, "base_path": ""})
    top.save(Measured([2]), "n", "t")
    assert "t/n.json" in store.keys(bucket)
    with pytest.raises(StorageUnavailableError, match="check the AWS_"):
        S3Storage({**given, "aws_secret_access_key": "another"}).list_objects("t")
    with pytest.raises(StorageUnavailableError, match=r"no bucket .*; create it"):
        S3Storage({**given, "bucket_name": "nowhere"}).save(Measured([1]), "n", "t")


class Counting:
    """A storage that counts how often it is asked."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.storage, name)


def test_a_cache_hit_makes_no_call(storage: Storage) -> None:
    counting = Counting(storage)
    cached = LocalCache(counting)
    storage.save(Measured([1]), "b", "t")
    assert cached.list_objects("t") == ["b"]
    text = cached.load("b", "t")
    counting.calls.clear()
    cached.list_objects("t").append("mine alone")
    assert cached.list_objects("t") == ["b"]
    assert cached.load("b", "t") == text
    assert counting.calls == []


def test_saving_and_deleting_update_the_cache(storage: Storage) -> None:
    counting = Counting(storage)
    cached = LocalCache(counting)
    assert cached.list_objects("t") == []
    cached.save(Measured([1]), "b", "t")
    cached.save(Measured([2]), "a", "t")
    counting.calls.clear()
    assert cached.list_objects("t") == ["a", "b"]
    assert cached.load("a", "t") == storage.load("a", "t")
    assert counting.calls == []
    cached.delete("a", "t")
    assert counting.calls == ["delete"]
    assert cached.list_objects("t") == ["b"]
    with pytest.raises(FileNotFoundError):
        cached.load("a", "t")
    assert storage.list_objects("t") == ["b"]


def test_what_others_change_is_seen_after_a_refresh(storage: Storage) -> None:
    cached = LocalCache(storage)
    assert cached.list_objects("t") == []
    storage.save(Measured([1]), "a", "t")
    assert cached.list_objects("t") == []
    cached.refresh()
    assert cached.list_objects("t") == ["a"]
    assert isinstance(cached, Storage)
    assert isinstance(storage, Storage)
