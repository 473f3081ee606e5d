"""What AsgardStorage keeps comes back exactly, whichever home keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    CannotAppendError,
    LengthMismatchError,
    NotFoundError,
)

from tests.sdk.homes import Home

RANDOM = np.random.default_rng(7)
POINT = np.dtype([("at", "f8", (2,)), ("n", "i4")])

ARRAYS = {
    "float64": RANDOM.normal(size=3000),
    "nan": np.array([np.nan, np.inf, -np.inf, -0.0] * 400),
    "big endian": np.arange(2000, dtype=">f8"),
    "fortran": np.asfortranarray(RANDOM.normal(size=(60, 50))),
    "sliced": RANDOM.normal(size=(100, 100))[::2, ::3],
    "complex": RANDOM.normal(size=1500) + 1j,
    "bool": RANDOM.random(2000) < 0.5,
    "uint64": np.full(1500, 2**64 - 1, np.uint64),
    "text": np.array(["ä", "longer"] * 600),
    "bytes": np.array([b"a", b"bcd"] * 600),
    "time": np.arange(1500).astype("datetime64[us]"),
    "bfloat16": np.arange(2000).astype(ml_dtypes.bfloat16),
    "float8": np.arange(2000).astype(ml_dtypes.float8_e4m3fn),
    "structured": np.zeros(1100, POINT),
    "over one MiB": RANDOM.normal(size=(700, 300)),
    "no text": np.full(2000, ""),
    "small": np.arange(6).reshape(2, 3),
    "empty": np.empty((0, 4), np.float32),
    "no axes": np.array(3.5),
}


def same(mine: Any, theirs: Any) -> None:
    assert isinstance(theirs, np.ndarray)
    assert (theirs.dtype, theirs.shape) == (mine.dtype, mine.shape)
    assert theirs.tobytes() == mine.tobytes()


def test_every_kind_of_array_comes_back_exactly(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    data = {**ARRAYS, "deep": {"in.side": [ARRAYS["float64"], {"x": ARRAYS["complex"]}]}}
    saved = storage.add_result(run, "T", {**data, "deep.in.side": np.arange(1100)})
    for found in (saved.data, storage.load_result(saved.id).data, run.results[0].data):
        for name, array in ARRAYS.items():
            same(array, found[name])
        same(ARRAYS["float64"], found["deep"]["in.side"][0])
        same(ARRAYS["complex"], found["deep"]["in.side"][1]["x"])
        same(np.arange(1100), found["deep.in.side"])


def test_values_that_json_has_not_come_back_exactly(storage: AsgardStorage) -> None:
    data = {
        "float": [float("nan"), float("inf"), -0.0, 0.1],
        "int": [2**200, -(2**63), 2**64],
        "complex": 1 - 2j,
        "when": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "bytes": b"\0\xff",
        "$array": {"$float": "a key of the author's"},
        "none": None,
        "jax": jnp.arange(3.0),
    }
    run = storage.create_run("r", metadata={k: v for k, v in data.items() if k != "jax"})
    result = storage.add_result(run, "T", data, {"title": "t", "$x": 2**70})
    found = storage.load_result(result.id)
    assert repr(found.data["float"]) == repr(data["float"])
    for name in ("int", "complex", "when", "bytes", "$array", "none"):
        assert found.data[name] == data[name]
        assert storage.load_run(run.id).metadata[name] == data[name]
    assert found.display == {"title": "t", "$x": 2**70}
    same(np.asarray(data["jax"]), found.data["jax"])


def test_an_array_that_grew_is_read_whole(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    start = {"t": np.arange(4.0), "paths": RANDOM.normal(size=(300, 4))}
    result = storage.add_result(run, "StochasticEnsemble", start)
    more = {"t": np.arange(4.0, 10), "paths": RANDOM.normal(size=(300, 6))}
    storage.append(result, more)
    for found in (result.data, storage.load_result(result.id).data):
        np.testing.assert_array_equal(found["t"], np.arange(10.0))
        np.testing.assert_array_equal(
            found["paths"], np.concatenate([start["paths"], more["paths"]], axis=1)
        )


def test_an_append_is_refused_alike(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    result = storage.add_result(run, "T", {"x": [1.0], "y": [1.0, 2.0], "s": 1})
    for rows in ({"x": [1.0], "y": [1.0]}, {"s": [1]}, {"x": {1}}, {"x": 1}, {}):
        with pytest.raises(CannotAppendError):
            storage.append(result, rows)
        with pytest.raises(CannotAppendError):
            storage.append(result.id, rows)
    with pytest.raises(LengthMismatchError) as caught:
        storage.append(result.id, {"x": [5.0]}, at=7)
    assert caught.value.length == 1
    with pytest.raises(NotFoundError):
        storage.append("nothing", {"x": [5.0]})
    assert storage.load_result(result.id).data == {"x": [1.0], "y": [1.0, 2.0], "s": 1}


def test_what_an_author_changes_after_saving_is_not_saved(storage: AsgardStorage) -> None:
    run = storage.create_run("r")
    values, array = [1, 2], np.zeros(2000)
    result = storage.add_result(run, "T", {"values": values, "array": array})
    values.append(3)
    array[:] = 5
    assert result.data["values"] == [1, 2]
    assert not result.data["array"].any()


def test_who_adds_to_what_is_not_there_is_told(storage: AsgardStorage) -> None:
    for ask in (
        lambda: storage.add_result("nothing", "T", {}),
        lambda: storage.finish_run("nothing"),
        lambda: storage.update_run("nothing", name="n"),
        lambda: storage.delete_result("nothing"),
    ):
        with pytest.raises(NotFoundError, match="nothing"):
            ask()
    run = storage.save_simulation_result("r", "T", {"x": 1}, id="mine")
    with pytest.raises(AlreadyExistsError, match="mine"):
        storage.save_simulation_result("r", "T", {"x": 2}, id="mine")
    assert run.results[0].data == {"x": 1}


def test_many_runs_are_listed_newest_first(storage: AsgardStorage) -> None:
    now = datetime.now(UTC)
    ids = [storage.create_run(f"{k}", created_at=now + timedelta(0, 0, k)).id for k in range(60)]
    assert [run.id for run in storage.list_runs()] == ids[::-1]
    assert [run.id for run in storage.list_runs(limit=3)] == ids[:-4:-1]


def test_a_change_of_kind_alone_is_a_change_and_arrays_may_be_compared(
    storage: AsgardStorage, home: Home
) -> None:
    run = storage.create_run("r", metadata={"n": 1, "a": np.arange(3)})
    for n, dtype in ((True, float), (1.0, int), (float("nan"), int)):
        metadata = {"n": n, "a": np.arange(3, dtype=dtype)}
        storage.update_run(run.id, metadata=metadata)
        stored = home.open().load_run(run.id).metadata
        assert type(stored["n"]) is type(n)
        assert stored["a"].dtype == dtype
    changed_at = storage.load_run(run.id).updated_at
    storage.update_run(run.id, metadata={"n": float("nan"), "a": np.arange(3)})
    assert storage.load_run(run.id).updated_at == changed_at
