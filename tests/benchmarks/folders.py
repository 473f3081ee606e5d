"""Folders with many runs, written in the documented layout, and their index."""

from __future__ import annotations

import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_result, encode_run
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.ids import new_id

from tests.benchmarks.figures import Bench
from tests.benchmarks.servers import Monitor, monitor

# One run in a hundred has this word in its name, none has the other one.
RARE = "zephyrine"
ABSENT = "quixotically"
COMMON = "simulation"


def folder_of(bench: Bench, count: int) -> Path:
    """A folder of `count` runs with one result each, made once for all rows."""
    place = bench.folder / f"runs-{count}"
    if place.exists():
        return place
    bench.say(f"  writing {count:,} runs with one result each")
    Folder(place, durability="relaxed")
    rng = random.Random(20261121)
    began = datetime.now(UTC) - timedelta(days=30)
    for number in range(count):
        created = began + timedelta(seconds=number * 20)
        run_id, result_id = new_id(created), new_id(created)
        name = f"{COMMON} {number:06} {rng.choice(('heat', 'wave', 'ode', 'walk'))}"
        if number % 100 == 0:
            name += f" {RARE}"
        run = RunDocument(
            id=run_id,
            name=name,
            created_at=created,
            updated_at=created,
            equation="f(t) = int(f, t) = f",
            circuit="composition(register(x), scalar(2.0))",
            metadata={"seed": number, "solver": "rk4", "dt": 0.01},
            results=(result_id,),
            tags=("bench",),
            status="succeeded",
            finished_at=created,
        )
        result = ResultDocument(
            id=result_id,
            run_id=run_id,
            result_type="Solution1D",
            data={"x": [0.0, 0.5, 1.0], "computed": [1.0, 1.65, 2.72]},
            display={"title": "f"},
            created_at=created,
        )
        (place / "results" / f"{result_id}.json").write_bytes(encode_result(result))
        (place / "runs" / f"{run_id}.json").write_bytes(encode_run(run))
    return place


def forget_index(place: Path) -> None:
    """Remove what is derived, as the documents allow while nothing runs."""
    shutil.rmtree(place / ".asgard", ignore_errors=True)


def indexed(bench: Bench, count: int) -> Path:
    """As `folder_of`, with an index that agrees with it."""
    place = folder_of(bench, count)
    marked = place.with_name(f"{place.name}.indexed")
    if not marked.exists():
        with monitor(place) as running:
            wait_for_rebuild(running)
        marked.touch()
    return place


def wait_for_rebuild(running: Monitor, seconds: float = 300.0) -> dict[str, float]:
    """Wait until the index was built anew: the service's own account of it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = running.events("index rebuilt")
        if found:
            return {"documents": found[0]["documents"], "seconds": found[0]["seconds"]}
        time.sleep(0.02)
    raise RuntimeError("the index was not rebuilt in time")
