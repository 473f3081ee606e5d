"""`add_result` of a small result through the library, against bare files.

The bare one writes the same two documents, each by orjson to a temporary file that is
renamed; durable: with fsync of the file and of its folder.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
from gimle.asgard.monitor.storage import AsgardStorage

from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.plot import svg

LEAST: dict[Literal["durable", "relaxed"], float] = {"durable": 0.7, "relaxed": 0.35}
RESULTS = 10
DATA = {"x": [0.0, 0.25, 0.5, 0.75, 1.0], "computed": [1.0, 1.284, 1.649, 2.117, 2.718]}
DISPLAY = {"title": "exp", "labels": {"x": "x", "y": "f(x)"}}


def measure(bench: Bench) -> list[Figure]:
    """Runs of ten results by both in turn; the median run of each. Then one long run."""
    figures = [_small(bench, durability) for durability in LEAST]
    _long(bench)
    return figures


def _small(bench: Bench, durability: Literal["durable", "relaxed"]) -> Figure:
    storage = AsgardStorage(str(bench.folder / f"saving-{durability}"), durability=durability)
    bare = Bare(bench.folder / f"bare-{durability}", fsync=durability == "durable")
    ours, theirs = [], []
    for number in range(bench.few(300, 60)):
        theirs.append(bare.run(RESULTS))
        run = storage.create_run(f"bench {number}", equation="f(t) = int(f, t) = f")
        began = time.perf_counter()
        for _ in range(RESULTS):
            storage.add_result(run, result_type="Solution1D", data=DATA, display=DISPLAY)
        ours.append(RESULTS / (time.perf_counter() - began))
    return share(
        f"add_result, runs of {RESULTS}, {durability}",
        median(ours),
        median(theirs),
        LEAST[durability],
        "results/s",
        "bare orjson and rename" + (", same fsyncs" if durability == "durable" else ""),
    )


def _long(bench: Bench) -> None:
    """Times of each of 10,000 results in one run, drawn: its document grows with them."""
    results, step = bench.few(10_000, 2_000), 100
    lines: dict[str, list[tuple[float, float]]] = {}
    for durability in LEAST:
        storage = AsgardStorage(str(bench.folder / f"long-{durability}"), durability=durability)
        bare = Bare(bench.folder / f"long-bare-{durability}", fsync=durability == "durable")
        run = storage.create_run("long")
        bare.begin()
        for start in range(0, results, step):
            began = time.perf_counter()
            for _ in range(step):
                storage.add_result(run, result_type="Solution1D", data=DATA, display=DISPLAY)
            middle = time.perf_counter()
            for _ in range(step):
                bare.add()
            ended = time.perf_counter()
            at = start + step
            lines.setdefault(f"library, {durability}", []).append((at, (middle - began) / step))
            lines.setdefault(f"bare files, {durability}", []).append((at, (ended - middle) / step))
    path = bench.plots / "bench-add-result.svg"
    text = svg(
        {name: [(x, y * 1e3) for x, y in points] for name, points in lines.items()},
        "add_result in one run",
        "results in the run",
        "ms each",
    )
    path.write_text(text)
    bench.say(f"  plot: {path}")
    for name, points in lines.items():
        marks = [points[0], points[len(points) // 10], points[len(points) // 2], points[-1]]
        bench.say(f"  {name}: " + ", ".join(f"{y * 1e3:.2f} ms at {x:,.0f}" for x, y in marks))


class Bare:
    """Writes a run's and a result's document as plainly as can be."""

    def __init__(self, place: Path, *, fsync: bool) -> None:
        self._fsync = fsync
        self._folders = {kind: place / kind for kind in ("runs", "results")}
        for folder in self._folders.values():
            folder.mkdir(parents=True)
        self._run: dict[str, Any] = {}

    def run(self, results: int) -> float:
        """One run with results; answers results a second."""
        self.begin()
        began = time.perf_counter()
        for _ in range(results):
            self.add()
        return results / (time.perf_counter() - began)

    def begin(self) -> None:
        """A new run."""
        now = datetime.now(UTC).isoformat()
        self._run = {
            "id": str(uuid.uuid4()),
            "name": "bench",
            "created_at": now,
            "updated_at": now,
            "equation": "f(t) = int(f, t) = f",
            "metadata": {},
            "results": [],
            "tags": [],
        }
        self._write("runs", self._run)

    def add(self) -> None:
        """A result to it: two documents."""
        now = datetime.now(UTC).isoformat()
        result = {
            "id": str(uuid.uuid4()),
            "run_id": self._run["id"],
            "result_type": "Solution1D",
            "data": DATA,
            "display": DISPLAY,
            "created_at": now,
        }
        self._write("results", result)
        self._run["results"].append(result["id"])
        self._run["updated_at"] = now
        self._write("runs", self._run)

    def _write(self, kind: str, document: dict[str, Any]) -> None:
        folder = self._folders[kind]
        path = folder / f"{document['id']}.json"
        aside = folder / f".{document['id']}.tmp"
        file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(file, orjson.dumps(document))
            if self._fsync:
                os.fsync(file)
        finally:
            os.close(file)
        aside.rename(path)
        if self._fsync:
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
