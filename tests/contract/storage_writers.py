"""Processes that write into a storage folder, to be killed, crowded and stopped.

Run as a script: `storage_writers.py MODE FOLDER [NUMBER ...]`. It forks, so that a round
costs milliseconds; what it finds wrong it raises, and its exit status says so.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from gimle.asgard.core.documents import ArrayRef, ResultDocument, RunDocument
from gimle.asgard.core.errors import AsgardError
from gimle.asgard.core.folder import Folder, files, npy
from gimle.asgard.core.growth import references
from gimle.asgard.core.ids import new_id


def a_run(name: str = "run") -> RunDocument:
    """A run of now."""
    now = datetime.now(UTC)
    return RunDocument(new_id(now), name, now, now)


def a_result(run_id: str, data: dict[str, Any], kind: str = "Solution1D") -> ResultDocument:
    """A result of now."""
    now = datetime.now(UTC)
    return ResultDocument(new_id(now), run_id, kind, data, now)


def whole(path: str) -> tuple[int, int]:
    """Open the folder as the next process would, and assert that nothing is half there."""
    folder = Folder(path, durability="relaxed")
    # A name with a dot is a file whose writer was killed before it had its own: fsck tells of it.
    begun = [name for name in os.listdir(f"{path}/.asgard/deleting") if name[0] not in "._"]
    assert begun == [], begun
    left = [name for name in os.listdir(f"{path}/.asgard/intents") if not name.startswith(".")]
    assert left == [], left
    named: set[str] = set()
    results: dict[str, ResultDocument] = {}
    for id in folder.ids("result"):
        document = folder.read_result_document(id)
        results[id] = document
        named |= {ref.path for ref in references(document.data)}
        lengths = {len(value) for value in folder.read_result(id).data.values()}
        assert len(lengths) == 1, (id, lengths)
    runs = folder.ids("run")
    for id in runs:
        for listed in folder.read_run(id).results:
            assert listed in results, f"run {id} lists {listed}, which is not there"
    grown = {ref for ref in os.listdir(f"{path}/files") if "_grown" not in ref}
    assert {f"files/{name}" for name in grown} <= named, grown - named
    folder.close()
    return len(runs), len(results)


def busy(folder: Folder) -> None:
    """Do everything a writer can do, for ever."""
    big = np.arange(3000.0)
    while True:
        run = a_run()
        folder.create_run(run, [a_result(run.id, {"x": [1.0], "y": [2.0]})])
        result = folder.add_result(a_result(run.id, {"x": big, "y": big}))
        growing = folder.add_result(a_result(run.id, {"grown": [0.0]}))
        for step in range(3):
            folder.append(growing.id, {"grown": np.full(500, step)})
        folder.update_run(run.id, lambda old: RunDocument(
            old.id, "renamed", old.created_at, old.updated_at, results=old.results
        ))  # fmt: skip
        if random.random() < 0.5:
            folder.delete_result(result.id)
        if random.random() < 0.5:
            folder.delete_run(run.id)


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child of this process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def waited(children: list[int]) -> None:
    """Wait for children, all of which must have ended well."""
    for child in children:
        assert os.waitpid(child, 0)[1] == 0, f"child {child} failed"


def killed(path: str, rounds: int, seed: int, durability: Any) -> None:
    """Kill a busy writer at random moments; look after each."""
    chance = random.Random(seed)
    saved = 0
    for _ in range(rounds):
        child = forked(lambda: busy(Folder(path, durability=durability)))
        time.sleep(chance.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        saved = sum(whole(path))
    assert saved > 0, "no writer got anywhere"
    print(saved)


def crowd(path: str, processes: int, each: int) -> None:
    """Add results to one run from many processes at once, arrays among them."""
    folder = Folder(path, durability="relaxed")
    run, _ = folder.create_run(a_run("crowded"))

    def work() -> None:
        for step in range(each):
            data = np.arange(2000.0) if step % 3 == 0 else [float(step)]
            folder.add_result(a_result(run.id, {"x": data}))

    waited([forked(work) for _ in range(processes)])
    listed = folder.read_run(run.id).results
    assert len(set(listed)) == len(listed) == processes * each, len(listed)
    assert set(listed) == set(folder.ids("result"))
    whole(path)


def opening(path: str, processes: int, each: int) -> None:
    """Open a place that does not exist, again and again, while all of them write arrays."""
    start = time.time() + 0.2

    def work() -> None:
        time.sleep(max(0.0, start - time.time()))
        for _ in range(each):
            folder = Folder(path, durability="relaxed")
            run = a_run()
            stored = a_result(run.id, {"x": np.full(2000, os.getpid()), "y": np.arange(2000)})
            folder.create_run(run, [stored])
            again = folder.read_result(stored.id).data
            assert (again["x"] == os.getpid()).all()
            os.write(1, f"{folder.storage_id}\n".encode())  # whole lines, from eight at once

    waited([forked(work) for _ in range(processes)])
    assert whole(path) == (processes * each, processes * each)


def appending(path: str, processes: int, each: int) -> None:
    """Append to one result from many processes at once, and read it meanwhile."""
    folder = Folder(path, durability="relaxed")
    run, (result,) = folder.create_run(run := a_run(), [a_result(run.id, {"who": [], "step": []})])

    def work() -> None:
        for step in range(each):
            folder.append(result.id, {"who": [os.getpid()] * 3, "step": [step] * 3})

    def read() -> None:
        while True:
            data = folder.read_result(result.id).data
            assert len(data["who"]) == len(data["step"])
            assert len(data["who"]) % 3 == 0, "a torn append was seen"

    reader = forked(read)
    waited([forked(work) for _ in range(processes)])
    assert os.waitpid(reader, os.WNOHANG) == (0, 0), "the reader failed"
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    data = folder.read_result(result.id).data
    rows = list(zip(data["who"].tolist(), data["step"].tolist(), strict=True))
    assert len(rows) == processes * each * 3, len(rows)
    assert len(set(rows)) == processes * each, "rows were lost or mixed"


def stuck(path: str, point: str) -> None:
    """Stop for good at a named point of a write, and say so; "forked": with a child that lives."""
    folder = Folder(path, durability="relaxed")
    run, _ = folder.create_run(a_run("stuck"))

    def stop(*_args: Any, **_options: Any) -> bool:
        def wait() -> None:
            print(os.getpid(), "here", sep="\n", flush=True)
            time.sleep(60)

        if point == "forked":
            forked(wait)  # the child says so: by then it has given up what is its parent's
        else:
            print("here", flush=True)
        time.sleep(60)
        raise AssertionError

    if point in ("arrays", "forked"):  # the arrays are placed, their document is not
        files.create = stop
    else:  # the first array has its head, and no bytes yet
        npy._write_blocks = stop  # type: ignore[assignment]  # it never answers
    folder.add_result(a_result(run.id, {"x": np.arange(5000.0), "y": np.arange(5000)}))


def half_grown(path: str, result_id: str) -> None:
    """Die after an append has written its bytes and before its document says so."""

    def die(*_args: Any, **_options: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    files.replace = die
    try:
        Folder(path, durability="relaxed").append(result_id, {"grown": np.full(7, -1.0)})
    except AsgardError as error:
        print(error)


def references_of(folder: Folder, result_id: str) -> list[ArrayRef]:
    """The arrays in files of a result."""
    return list(references(folder.read_result_document(result_id).data))


if __name__ == "__main__":
    mode, place, *numbers = sys.argv[1:]
    if mode == "killed":
        killed(place, int(numbers[0]), int(numbers[1]), numbers[2])
    elif mode in ("stuck", "half_grown"):
        {"stuck": stuck, "half_grown": half_grown}[mode](place, numbers[0])
    else:
        {"crowd": crowd, "opening": opening, "appending": appending}[mode](
            place, int(numbers[0]), int(numbers[1])
        )
