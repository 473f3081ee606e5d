"""Building the index of a folder anew: documents a second."""

from __future__ import annotations

import time

from tests.benchmarks.figures import Bench, Figure
from tests.benchmarks.folders import folder_of, forget_index, wait_for_rebuild
from tests.benchmarks.servers import monitor, timed

LEAST = 15_000


def measure(bench: Bench) -> list[Figure]:
    """A start without an index, until every run is listed."""
    count = bench.few(100_000, 10_000)
    place = folder_of(bench, count)
    rates, plain = [], []
    for _ in range(bench.few(3, 2)):
        forget_index(place)
        began = time.perf_counter()
        total = sum(
            len(path.read_bytes())
            for kind in ("results", "runs")
            for path in sorted((place / kind).iterdir())
        )
        plain.append(2 * count / (time.perf_counter() - began))
        with monitor(place) as running:
            told = wait_for_rebuild(running)
            connection = running.connect()
            slowest = max(timed(connection, "/healthz")[0] for _ in range(20))
        rates.append(told["documents"] / told["seconds"])
        bench.say(
            f"  {told['documents']:,} documents ({total >> 20} MiB) in {told['seconds']} s, "
            f"/healthz right after at most {slowest * 1e3:.1f} ms"
        )
    place.with_name(f"{place.name}.indexed").touch()
    rate = sorted(rates)[len(rates) // 2]
    reading = sorted(plain)[len(plain) // 2]
    return [
        Figure(
            f"index rebuild, {count:,} runs with one result each",
            f"{rate:,.0f} documents/s",
            f"{reading:,.0f}/s (one Python thread that only reads the files)",
            f"{LEAST:,} documents/s",
            rate >= LEAST,
        )
    ]
