"""A thousand event streams and one change: when each of them has it."""

from __future__ import annotations

import time

from tests.benchmarks.figures import Bench, Figure, median, milliseconds, quantile
from tests.benchmarks.servers import child, monitor, tell, told

READERS = 1_000
MOST_S = 0.25


def measure(bench: Bench) -> list[Figure]:
    """Changes by another process through the library, far apart; all readers, all changes."""
    storage = bench.folder / "fanout"
    delays: list[float] = []
    lost = 0
    with (
        monitor(storage) as running,
        child("event_readers", running.port, READERS) as readers,
        child("writer", storage) as writer,
    ):
        told(writer)
        told(readers)
        time.sleep(1.5)
        rounds = bench.few(20, 5)
        for _ in range(rounds):
            tell(writer, "run")
            saved = told(writer)
            tell(readers, saved["id"])
            seen = told(readers)
            lost += seen["lost"]
            delays += [when - saved["began"] for when in seen["seen"]]
            time.sleep(0.3)
    p99 = quantile(delays, 0.99)
    return [
        Figure(
            f"{READERS:,} event streams, one change, {rounds} times",
            f"p50 {milliseconds(median(delays))}, p99 {milliseconds(p99)}, {lost} lost",
            "from the beginning of the save, all readers in one process",
            f"p99 {milliseconds(MOST_S)}, none lost",
            p99 <= MOST_S and lost == 0,
        )
    ]
