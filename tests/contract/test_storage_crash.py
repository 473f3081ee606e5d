"""Many writers at once, and writers that die: nothing half, nothing lost, none disturbed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.folder import Folder

from tests.contract.storage_writers import a_result, a_run, references_of, whole

WRITERS = Path(__file__).with_name("storage_writers.py")


def command(mode: str, place: Path, *numbers: object) -> list[str]:
    return [sys.executable, str(WRITERS), mode, str(place), *map(str, numbers)]


def ran(mode: str, place: Path, *numbers: object) -> str:
    done = subprocess.run(command(mode, place, *numbers), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("durability", "rounds"), [("relaxed", 80), ("durable", 40)])
def test_a_writer_killed_at_any_moment_leaves_nothing_half(
    tmp_path: Path, durability: str, rounds: int
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    ran("killed", tmp_path, rounds, seed, durability)


def test_eight_processes_adding_to_one_run_are_all_there(tmp_path: Path) -> None:
    ran("crowd", tmp_path, 8, 40)


def test_eight_processes_opening_at_once_open_one_place_and_harm_nobody(tmp_path: Path) -> None:
    said = ran("opening", tmp_path / "new" / "place", 8, 20)
    assert len(set(said.split())) == 1


def test_appenders_at_once_lose_no_row_and_no_reader_sees_a_torn_one(tmp_path: Path) -> None:
    ran("appending", tmp_path, 6, 40)


@pytest.mark.parametrize("point", ["bytes", "arrays"])
def test_an_open_leaves_a_living_writer_alone_and_cleans_up_behind_a_dead_one(
    tmp_path: Path, point: str
) -> None:
    with subprocess.Popen(
        command("stuck", tmp_path, point), stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "here\n"
        files = sorted(os.listdir(tmp_path / "files"))
        intents = os.listdir(tmp_path / ".asgard/intents")
        assert files
        assert len(intents) == 1

        Folder(tmp_path)
        assert sorted(os.listdir(tmp_path / "files")) == files
        assert os.listdir(tmp_path / ".asgard/intents") == intents
        assert [f.kind for f in Folder(tmp_path).fsck(repair=True).findings] in ([], ["temporary"])

        writer.send_signal(signal.SIGKILL)
        writer.wait()
    Folder(tmp_path)
    assert os.listdir(tmp_path / "files") == []
    assert os.listdir(tmp_path / ".asgard/intents") == []
    assert whole(str(tmp_path)) == (1, 0)


def test_a_copy_made_beside_a_living_writer_loses_no_array(tmp_path: Path) -> None:
    place, copy = tmp_path / "place", tmp_path / "copy"
    place.mkdir()
    with subprocess.Popen(
        command("stuck", place, "arrays"), stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "here\n"
        shutil.copytree(place, copy)  # the document is still to come, with another copy
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    arrays = sorted(os.listdir(copy / "files"))
    assert arrays
    Folder(copy)
    assert sorted(os.listdir(copy / "files")) == arrays
    assert [finding.kind for finding in Folder(copy).fsck().findings] == ["orphan_array"] * len(
        arrays
    )


def test_a_dead_writer_is_known_as_dead_although_its_child_lives(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("stuck", tmp_path, "forked"), stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        child = int(writer.stdout.readline())
        assert writer.stdout.readline() == "here\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        try:
            Folder(tmp_path)
            os.kill(child, 0)  # it lives
            assert os.listdir(tmp_path / "files") == []
            assert os.listdir(tmp_path / ".asgard/intents") == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_an_append_that_died_before_its_document_never_happened(tmp_path: Path) -> None:
    folder = Folder(tmp_path, durability="relaxed")
    run = a_run()
    first = np.arange(5000.0)
    _, (result,) = folder.create_run(run, [a_result(run.id, {"grown": first})])
    dead = subprocess.run(command("half_grown", tmp_path, result.id), check=False)
    assert dead.returncode == -signal.SIGKILL

    (ref,) = references_of(folder, result.id)
    raw = np.load(tmp_path / ref.path)
    assert len(raw) == 5007, "the bytes and the head were written before the death"
    assert np.array_equal(folder.read_result(result.id).data["grown"], first)
    folder.append(result.id, {"grown": np.array([1.0, 2.0])}, at=5000)
    assert np.array_equal(folder.read_result(result.id).data["grown"], [*first, 1.0, 2.0])
    assert len(np.load(tmp_path / ref.path)) == 5002
    assert (tmp_path / ref.path).stat().st_size == 128 + 5002 * 8, "the dead rows are cut off"


def test_a_copy_that_brings_files_then_results_then_runs_loses_nothing(tmp_path: Path) -> None:
    source = Folder(tmp_path / "source", durability="relaxed")
    run = a_run()
    source.create_run(run, [a_result(run.id, {"x": np.arange(3000.0)}) for _ in range(3)])
    target = tmp_path / "target"
    for part in ("files", "results", "runs"):
        Folder(target, durability="relaxed").fsck(repair=True)
        shutil.copytree(tmp_path / "source" / part, target / part, dirs_exist_ok=True)
    folder = Folder(target)
    assert folder.fsck(repair=True).findings == []
    for id in folder.read_run(run.id).results:
        assert len(folder.read_result(id).data["x"]) == 3000


@pytest.mark.parametrize("removed", range(5))
def test_a_delete_that_was_interrupted_is_finished_by_the_next_open(
    tmp_path: Path, removed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, durability="relaxed")
    run, other = a_run(), a_run()
    folder.create_run(run, [a_result(run.id, {"x": np.arange(3000.0)}) for _ in range(2)])
    folder.create_run(other, [a_result(other.id, {"x": np.arange(3000.0)})])
    steps = iter(range(removed))
    unlink = os.unlink

    def until_power_fails(path: str) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        unlink(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", until_power_fails)
        with pytest.raises(KeyboardInterrupt):
            folder.delete_run(run.id)

    again = Folder(tmp_path)
    assert again.stat("run", run.id) is None
    with pytest.raises(NotFoundError):
        again.delete_run(run.id)
    assert whole(str(tmp_path)) == (1, 1)
    assert len(os.listdir(tmp_path / "files")) == 1


def test_a_result_whose_delete_was_interrupted_is_gone_after_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, durability="relaxed")
    run = a_run()
    _, (gone, kept) = folder.create_run(
        run, [a_result(run.id, {"x": np.arange(3000.0)}) for _ in range(2)]
    )

    def fail(path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        with pytest.raises(KeyboardInterrupt):
            folder.delete_result(gone.id)
    Folder(tmp_path)
    assert folder.read_run(run.id).results == (kept.id,)
    assert folder.ids("result") == [kept.id]
    assert len(os.listdir(tmp_path / "files")) == 1
