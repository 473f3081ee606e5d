"""A result grows while its run goes on: cheaply, exactly, never torn."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gimle.asgard.core.errors import (
    CannotAppendError,
    LengthMismatchError,
    NotFoundError,
    StorageFullError,
)
from gimle.asgard.core.folder import Folder, files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.storage_writers import a_result, a_run, references_of


@pytest.fixture(params=["relaxed", "durable"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    return Folder(tmp_path, durability=request.param)


def stored(folder: Folder, data: dict[str, Any], kind: str = "OptimizationResult") -> str:
    run = a_run()
    _, (result,) = folder.create_run(run, [a_result(run.id, data, kind)])
    return result.id


def test_every_named_field_grows_and_the_others_stay(folder: Folder) -> None:
    id = stored(folder, {"loss": [3.0], "parameters": {"w": [[1.0, 2.0]], "b": [0]}, "k": "v"})
    for step in range(1, 4):
        folder.append(id, {"loss": [3.0 / step], "parameters": {"w": [[step, 0.5]], "b": [step]}})
    data = folder.read_result(id).data
    assert data["loss"].tolist() == [3.0, 3.0, 1.5, 1.0]
    assert data["parameters"]["w"].tolist() == [[1, 2], [1, 0.5], [2, 0.5], [3, 0.5]]
    assert data["parameters"]["b"].tolist() == [0, 1, 2, 3]
    assert data["k"] == "v"
    assert sorted(os.listdir(Path(folder.path) / "files")) == sorted(
        f"{id}_{field}.npy" for field in ("loss", "parameters.w", "parameters.b")
    )


def test_a_growing_file_is_not_written_anew_and_stays_plain_npy(folder: Folder) -> None:
    id = stored(folder, {"frames": np.zeros((5, 20, 20), np.float32)}, "PhysicsAnimation")
    (ref,) = references_of(folder, id)
    file = Path(folder.path) / ref.path
    inode = file.stat().st_ino
    for frame in range(12):
        folder.append(id, {"frames": np.full((1, 20, 20), frame, np.float32)})
    assert file.stat().st_ino == inode
    raw = np.load(file)
    assert raw.shape == (17, 20, 20)
    assert np.array_equal(raw[5:, 0, 0], np.arange(12))


def test_an_ensemble_grows_along_time(folder: Folder) -> None:
    rng = np.random.default_rng(2)
    whole = rng.random((7, 400))
    for first in (0, 1, 300):
        id = stored(
            folder, {"t": np.arange(float(first)), "paths": whole[:, :first]}, "StochasticEnsemble"
        )
        for start in range(first, 400, 25):
            rows = whole[:, start : start + 25]
            times = np.arange(float(start), start + rows.shape[1])
            folder.append(id, {"t": times, "paths": rows})
        data = folder.read_result(id).data
        assert np.array_equal(data["paths"], whole)
        assert np.array_equal(data["t"], np.arange(400.0))


def test_an_ensemble_may_begin_as_an_empty_list(folder: Folder) -> None:
    id = stored(folder, {"t": [], "paths": []}, "StochasticEnsemble")
    folder.append(id, {"t": [0.0, 1.0], "paths": [[1, 2], [3, 4], [5, 6]]})
    assert folder.read_result(id).data["paths"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_rows_sent_again_are_recognised_and_others_refused(folder: Folder) -> None:
    id = stored(folder, {"x": [1.0, 2.0], "y": [1, 2]})
    folder.append(id, {"x": [3.0, 4.0], "y": [3, 4]}, at=2)
    folder.append(id, {"x": [3.0, 4.0], "y": [3, 4]}, at=2)
    folder.append(id, {"x": [5.0], "y": [5]}, at=4)
    folder.append(id, {"x": [3.0, 4.0], "y": [3, 4]}, at=2)
    for data, at in (
        ({"x": [3.0, 4.5], "y": [3, 4]}, 2),
        ({"x": [3.0, 4.0], "y": [3, 9]}, 2),
        ({"x": [5.0, 6.0], "y": [5, 6]}, 4),
        ({"x": [9.0], "y": [9]}, 9),
        ({"x": [9.0], "y": [9]}, -1),
    ):
        with pytest.raises(LengthMismatchError) as caught:
            folder.append(id, data, at=at)
        assert caught.value.length == 5
    assert folder.read_result(id).data["x"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("before", "added", "dtype"),
    [
        ([1, 2], [0.5], "float64"),
        (np.array([1, 2], np.float32), [0.5], "float32"),
        (np.array([1, 2], np.float32), [0.1], "float64"),
        (np.array([1], np.int8), [300], "int64"),
        (np.array([1.5]), [1 + 2j], "complex128"),
        (["a"], ["long"], "<U4"),
        (np.array([1], ml_dtypes.bfloat16), [0.5], "bfloat16"),
        (np.array(["2026-01-01"], "M8[D]"), np.array(["2026-01-01T05"], "M8[h]"), "datetime64[h]"),
        ([True], [False], "bool"),
        ([], np.array([7], np.uint8), "uint8"),
        (np.array([], np.float32), [0.5], "float32"),
    ],
    ids=str,
)
def test_a_field_becomes_wider_rather_than_lose_a_bit(
    folder: Folder, before: Any, added: Any, dtype: str
) -> None:
    id = stored(folder, {"x": before})
    for _ in range(2):
        folder.append(id, {"x": added})
    grown = folder.read_result(id).data["x"]
    assert grown.dtype == np.dtype(dtype)
    expected = [np.asarray(part).astype(dtype) for part in (before, added, added)]
    assert grown.tolist() == np.concatenate(expected).tolist()
    assert len(os.listdir(Path(folder.path) / "files")) == 1


@pytest.mark.parametrize(
    ("data", "added", "problem"),
    [
        ({"x": [1]}, {"x": [1, 2], "y": [1]}, "length"),
        ({"x": [1], "y": [1]}, {"x": [1, 2], "y": [1]}, "2 rows are given for x and 1 for y"),
        ({"x": [1], "y": [1, 2]}, {"x": [1], "y": [1]}, "x has 1 rows and y 2"),
        ({"x": [[1, 2]]}, {"x": [[1, 2, 3]]}, r"has shape \[2\], what is added has \[3\]"),
        ({"x": [1]}, {"x": 5}, "single value|no rows"),
        ({"x": 5}, {"x": [5]}, "cannot grow"),
        ({"x": [1]}, {"x": ["a"]}, "without losing"),
        ({"x": [2**63 - 1]}, {"x": [0.5]}, "without losing"),
        ({"x": [1]}, {"x": [None]}, "different kinds"),
        ({"x": [{"a": 1}]}, {"x": [1]}, "cannot grow"),
        ({"x": [1]}, {"x": {"y": [1]}}, "series, not an object"),
        ({"x": {"y": [1]}}, {"x": [1]}, "cannot grow"),
        ({"x": [1]}, {}, "no field"),
        ({"x": [1]}, {"x": [[1, 2], [3]]}, "cannot grow"),
    ],
)
def test_what_cannot_grow_says_why_and_changes_nothing(
    tmp_path: Path, data: dict[str, Any], added: dict[str, Any], problem: str
) -> None:
    folder = Folder(tmp_path, durability="relaxed")
    id = stored(folder, data)
    before = folder.read_bytes("result", id)
    with pytest.raises(CannotAppendError, match=problem):
        folder.append(id, added)
    assert folder.read_bytes("result", id) == before
    assert os.listdir(tmp_path / "files") == []


def test_a_map_taken_before_an_append_keeps_what_it_shows(folder: Folder) -> None:
    first = np.arange(200_000.0)
    id = stored(folder, {"x": first})
    before = folder.read_result(id).data["x"]
    folder.append(id, {"x": np.full(1000, -1.0)})
    assert np.array_equal(before, first)
    assert len(folder.read_result(id).data["x"]) == 201_000


def test_appending_to_nothing_is_not_found(folder: Folder) -> None:
    with pytest.raises(NotFoundError):
        folder.append("nobody", {"x": [1]})


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(st.floats(width=32) | st.integers(-(2**40), 2**40), max_size=5), max_size=6)
)
def test_any_batches_add_up_to_their_concatenation(
    folder: Folder, batches: list[list[float]]
) -> None:
    id = stored(folder, {"x": []})
    for batch in batches:
        folder.append(id, {"x": batch})
    again = np.asarray(folder.read_result(id).data["x"], np.float64)
    np.testing.assert_array_equal(again, np.array([v for b in batches for v in b], np.float64))


def test_a_disk_that_is_full_when_the_document_comes_keeps_no_file_of_the_append(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = stored(folder, {"x": np.zeros(2000, np.float32), "y": [0.0] * 2000})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "replace", full)
        for _ in range(2):
            with pytest.raises(StorageFullError):
                folder.append(id, {"x": [0.1], "y": [0.1]})
    assert os.listdir(Path(folder.path) / "files") == [f"{id}_x.npy"]
    assert os.listdir(Path(folder.path) / ".asgard/intents") == []
    folder.append(id, {"x": [0.1], "y": [0.1]})
    assert [len(folder.read_result(id).data[key]) for key in "xy"] == [2001, 2001]
    assert folder.fsck().clean


DIES = """
import os, signal, sys
from gimle.asgard.core.folder import Folder, files
replace = files.replace
def dies(*given, **how):
    if sys.argv[3] == "after":
        replace(*given, **how)
    os.kill(os.getpid(), signal.SIGKILL)
files.replace = dies
Folder(sys.argv[1]).append(sys.argv[2], {"x": [0.1], "y": [0.1]})
"""


@pytest.mark.parametrize(("moment", "length"), [("before", 2000), ("after", 2001)])
def test_files_of_an_append_that_died_around_its_document_are_swept_up(
    folder: Folder, moment: str, length: int
) -> None:
    id = stored(folder, {"x": np.zeros(2000, np.float32), "y": [0.0] * 2000})
    died = subprocess.run([sys.executable, "-c", DIES, folder.path, id, moment], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(os.listdir(Path(folder.path) / "files")) == 3
    folder.sweep()
    assert len(os.listdir(Path(folder.path) / "files")) == (1 if moment == "before" else 2)
    assert [len(folder.read_result(id).data[key]) for key in "xy"] == [length, length]
    assert folder.fsck().findings == []
    folder.append(id, {"x": [0.1], "y": [0.1]})
    assert len(folder.read_result(id).data["x"]) == length + 1
