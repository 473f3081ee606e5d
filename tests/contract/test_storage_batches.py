"""What a folder promises about runs that are created together."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    InvalidNameError,
    StorageFullError,
    StorageUnavailableError,
)
from gimle.asgard.core.folder import CreatedRun, Durability, Folder, files

from tests.contract.storage_writers import a_result, a_run


@pytest.fixture(params=["relaxed", "durable"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    durability: Durability = request.param
    return Folder(tmp_path / "storage", durability=durability)


@pytest.fixture(params=["unnamed", "temporary"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How files are written until they have their names."""
    if request.param == "temporary":
        monkeypatch.setattr(files, "_UNNAMED", 0)
    return str(request.param)


def left_over(folder: Folder) -> list[str]:
    """Files that are no documents of runs."""
    paths = [
        path for path in Path(folder.path).rglob("*") if path.is_file() and path.name != "_reserve"
    ]
    hidden = {".asgard_metadata.json"}
    return sorted(
        path.name
        for path in paths
        if path.parent.name != "runs" and "locks" not in path.parts and path.name not in hidden
    ) + [name for name in os.listdir(f"{folder.path}/runs") if name.startswith(".")]


@pytest.mark.usefixtures("way")
def test_runs_created_together_are_all_there(folder: Folder) -> None:
    runs = [a_run(f"run {number}") for number in range(70)]
    answers = folder.create_runs([(run, ()) for run in runs])
    assert stored(answers) == [(run, []) for run in runs]
    for answer in answers:
        assert isinstance(answer, CreatedRun)
        path = f"{folder.path}/runs/{answer.run.id}.json"
        assert (Path(path).read_bytes(), os.stat(path).st_mtime_ns) == (
            answer.body,
            answer.stat.st_mtime_ns,
        )
    assert [folder.read_run(run.id) for run in runs] == runs
    assert left_over(folder) == []


@pytest.mark.usefixtures("way")
def test_an_id_that_is_taken_is_the_trouble_of_that_run_alone(folder: Folder) -> None:
    old, twice, new = a_run("old"), a_run("twice"), a_run("new")
    folder.create_run(old)
    other = a_result(old.id, {"x": np.arange(2000)})
    answers = folder.create_runs(
        [(old, [other]), (twice, ()), (new, [a_result(new.id, {"y": [1]})]), (twice, ())]
    )
    assert isinstance(answers[0], AlreadyExistsError)
    assert stored(answers[1:2]) == [(twice, [])]
    assert isinstance(answers[2], CreatedRun)
    assert folder.read_result(answers[2].run.results[0]).data == {"y": [1]}
    assert isinstance(answers[3], AlreadyExistsError)
    assert folder.read_run(old.id) == old
    assert left_over(folder) == [f"{answers[2].run.results[0]}.json"], "nothing of the refused"


def test_a_run_that_cannot_be_written_keeps_no_other_from_it(folder: Folder) -> None:
    good, bad = a_run("good"), a_run("bad")
    object.__setattr__(bad, "id", "../bad")
    answers = folder.create_runs([(bad, ()), (good, ())])
    assert isinstance(answers[0], InvalidNameError)
    assert stored(answers[1:]) == [(good, [])]


def stored(answers: Sequence[CreatedRun | Exception]) -> list[object]:
    """What was stored; errors as they are."""
    return [each if isinstance(each, Exception) else each[:2] for each in answers]


def _once(original: Callable[..., Any], at: int, number: int) -> Callable[..., Any]:
    """`original` that fails at its call `at`, counted from 1."""
    calls = iter(range(1, 1_000))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == at:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    return failing


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("step", ["write", "fsync", "link"])
def test_a_disk_that_is_full_for_one_run_leaves_nothing_of_it_and_all_of_the_others(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    runs = [a_run(f"run {number}") for number in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, step, _once(getattr(os, step), 2, errno.ENOSPC))
        answers = folder.create_runs([(run, ()) for run in runs])
    assert stored(answers[:1]) == [(runs[0], [])]
    assert isinstance(answers[1], StorageFullError)
    assert stored(answers[2:]) == [(runs[2], [])]
    assert set(folder.ids("run")) == {runs[0].id, runs[2].id}
    assert left_over(folder) == []
    assert stored(folder.create_runs([(runs[1], ())])) == [(runs[1], [])]


@pytest.mark.usefixtures("way")
def test_names_that_do_not_reach_the_disk_are_taken_back_with_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    old = a_run("old")
    folder.create_run(old)
    runs = [a_run(), a_run()]
    batch = [(run, [a_result(run.id, {"x": [1.0]})]) for run in runs]

    def broken(path: str) -> None:
        if path.endswith("/runs"):
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", broken)
        answers = folder.create_runs([*batch, (old, [])])
    assert isinstance(answers[0], StorageUnavailableError)
    assert isinstance(answers[1], StorageUnavailableError)
    assert isinstance(answers[2], AlreadyExistsError)
    assert folder.ids("run") == [old.id]
    assert left_over(folder) == []


def test_a_place_that_went_away_is_said_to_each(folder: Folder) -> None:
    os.rename(folder.path, f"{folder.path}.elsewhere")
    answers = folder.create_runs([(a_run(), ()), (a_run(), ())])
    assert all(isinstance(answer, StorageUnavailableError) for answer in answers)
    assert not os.path.exists(folder.path)


_DYING = """
import os, signal, sys
from gimle.asgard.core.folder import Folder, files
from tests.contract.storage_writers import a_result, a_run
step, number = sys.argv[2], int(sys.argv[3])
files._UNNAMED = files._UNNAMED if sys.argv[4] == "unnamed" else 0
folder = Folder(sys.argv[1])
original = getattr(os, step)
calls = iter(range(1, 1000))
def dying(*arguments, **options):
    if next(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(os, step, dying)
runs = [a_run(str(number)) for number in range(4)]
folder.create_runs([(run, [a_result(run.id, {"x": [run.name]})]) for run in runs])
print("survived")
"""


@pytest.mark.parametrize("way", ["unnamed", "temporary"])
@pytest.mark.parametrize(
    ("step", "number"),
    [("link", 1), ("link", 3), ("link", 5), ("link", 7), ("fsync", 9), ("fsync", 12), ("write", 6)],
)
def test_a_writer_killed_between_leaves_whole_runs_with_their_results_alone(
    way: str, step: str, number: int, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "storage"), step, str(number), way]
    root = Path(__file__).resolve().parents[2]
    dead = subprocess.run(
        [sys.executable, "-c", _DYING, *arguments], cwd=root, capture_output=True, timeout=60
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    folder = Folder(tmp_path / "storage")
    for run_id in folder.ids("run"):
        run = folder.read_run(run_id)
        (result,) = run.results
        assert folder.read_result(result).data == {"x": [run.name]}
    for result_id in folder.ids("result"):
        assert folder.read_result(result_id).data
