"""`asgard copy`, as a process: killed midway, stopped by Ctrl-C, and what it tells a script."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard import AsgardStorage

from tests.sdk.copied import copied, fill, said
from tests.sdk.homes import HOMES, Home

COMMAND = [sys.executable, "-m", "gimle.asgard.cli", "copy"]
RUNS, RESULTS, ELEMENTS = 9, 3, 60_000


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(HOMES[kind](tmp_path / "target"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with some to do: 27 results of half a MiB."""
    where = str(tmp_path_factory.mktemp("copied") / "source")
    storage = AsgardStorage(where, durability="relaxed")
    for number in range(RUNS):
        run = storage.create_run(f"r{number}")
        for _ in range(RESULTS):
            storage.add_result(run, "T", {"x": np.random.default_rng(number).random(ELEMENTS)})
        storage.finish_run(run)
    return where


def copying(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def copy(*arguments: str) -> tuple[int, dict[str, Any]]:
    process = copying(*arguments, "--json")
    out, err = process.communicate(timeout=120)
    assert out, err
    return process.returncode, json.loads(out)


@pytest.mark.parametrize("kind", ["folder", "minio", "grpc"])
def test_one_that_is_killed_midway_goes_on_where_it_was(
    opened: Callable[[str], Home], source: str, kind: str
) -> None:
    target = opened(kind)
    storage = target.open()
    seed = random.randrange(1 << 32)
    wanted = random.Random(seed).randrange(2, RUNS // 2)  # time to be killed in
    with copying(source, target.where) as process:
        deadline = time.monotonic() + 60
        while len(storage.list_runs()) < wanted:
            assert process.poll() is None, f"it was done before it was killed; seed {seed}"
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
    there = {run.id: run.result_ids for run in storage.list_runs()}
    whole = sum(len(ids) for ids in there.values())
    assert whole < RUNS * RESULTS, f"it was done before it was killed; seed {seed}"
    before = _states(target)
    code, answer = copy(source, target.where)
    assert (code, answer["problems"]) == (0, []), f"seed {seed}"
    counts = answer["results"]
    # What the dead one had written of a result without listing it is there as well.
    assert counts["present"] >= whole, f"seed {seed}"
    assert counts["copied"] + counts["present"] == RUNS * RESULTS
    size = ELEMENTS * 8
    assert counts["copied"] * size < answer["bytes"]["sent"] < counts["copied"] * (size + 1000)
    assert said(target.where, ordered=False) == said(source, ordered=False)
    after = _states(target)
    assert {name: after[name] for name in before} == before, f"seed {seed}"
    report = copied(source, target.where)
    assert (report.bytes_sent, report.runs_copied, report.runs_present) == (0, 0, RUNS)


def _states(target: Home) -> dict[str, Any]:
    """The results' documents that are at the target, each with what changes if it is written."""
    if target.store is not None:
        bucket, _, prefix = target.where.removeprefix("s3://").partition("/")
        listing = target.store.client().list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/results/")
        return {item["Key"]: item["LastModified"] for item in listing.get("Contents", ())}
    assert target.folder is not None
    files = (target.folder / "results").glob("*.json")
    return {file.name: (os.stat(file).st_ino, os.stat(file).st_mtime_ns) for file in files}


def test_ctrl_c_ends_it_between_two_results(source: str, tmp_path: Path) -> None:
    target = str(tmp_path / "target")
    storage = AsgardStorage(target)
    process = copying(source, target, "--json", "--jobs", "1")
    deadline = time.monotonic() + 60
    while not storage.list_runs():
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    answer = json.loads(out)
    assert (process.returncode, answer["interrupted"], answer["problems"]) == (130, True, [])
    assert answer["runs"]["copied"] < RUNS
    assert sum(len(run.result_ids) for run in storage.list_runs()) == answer["results"]["copied"]


def test_what_it_says(tmp_path: Path) -> None:
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    fill(AsgardStorage(source))
    ids = [run.id for run in AsgardStorage(source).list_runs()]
    process = copying(source, target, "--run", ids[0], "--run", ids[1], "--no-verify")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"{target}: 2 run(s) and ")
    assert out.endswith("0 run(s) and 0 result(s) were there; all is well\n")
    AsgardStorage(target).update_run(ids[0], name="another")
    process = copying(source, target)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"differs    run {ids[0]}: the run is there and its name says something else" in err
    assert "1 problem(s)" in out


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("nothing", "b", "there is no storage in nothing"),
        ("a", "a", "is where it comes from"),
        ("a", "ftp://b", "unknown scheme"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    tmp_path: Path, source: str, target: str, says: str
) -> None:
    fill(AsgardStorage(tmp_path / "a"))
    done = subprocess.run(
        [*COMMAND, source, target], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "nothing").exists()
