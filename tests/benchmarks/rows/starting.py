"""Starting on an indexed folder: the first byte, and until the index agrees again."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gimle.asgard.core.documents import RunDocument, encode_run
from gimle.asgard.core.ids import new_id

from tests.benchmarks.figures import Bench, Figure, within
from tests.benchmarks.folders import indexed
from tests.benchmarks.servers import Monitor, monitor

FIRST_BYTE_S = 2.0
RECONCILED_S = 15.0
ROUNDS = 3


def measure(bench: Bench) -> list[Figure]:
    """While it is down one run comes and one changes; both must be seen after a start."""
    count = bench.few(100_000, 10_000)
    place = indexed(bench, count)
    first, reconciled = [], []
    for _ in range(ROUNDS):
        new, changed, name = _change(place)
        with monitor(place, "/") as running:
            first.append(running.first_byte)
            _until_seen(running, new, changed, name)
            reconciled.append(time.perf_counter() - running.began)
        (place / "runs" / f"{new}.json").unlink()
    bench.say(f"  first byte {first}, reconciled {reconciled}")
    where = f"start on an indexed folder of {count:,} runs"
    return [
        within(f"{where}: first byte of the page", max(first), FIRST_BYTE_S, "worst of 3"),
        within(f"{where}: reconciled", max(reconciled), RECONCILED_S, "worst of 3"),
    ]


def _change(place: Path) -> tuple[str, str, str]:
    now = datetime.now(UTC)
    new, name = new_id(now), f"renamed at {now.isoformat()}"
    run = RunDocument(id=new, name="came while nobody looked", created_at=now, updated_at=now)
    (place / "runs" / f"{new}.json").write_bytes(encode_run(run))
    oldest = min((place / "runs").iterdir())
    aside = oldest.with_suffix(".tmp")
    aside.write_bytes(encode_run(replace(run, id=oldest.stem, name=name)))
    aside.replace(oldest)
    return new, oldest.stem, name


def _until_seen(running: Monitor, new: str, changed: str, name: str) -> None:
    """Runs are compared after results: when both are seen all documents were looked at."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        newest = running.get("/api/runs?page_size=1")
        if newest[0]["id"] == new and running.get(f"/v1/runs/{changed}")["name"] == name:
            return
        time.sleep(0.05)
    raise RuntimeError("the changes made before the start were never seen")
