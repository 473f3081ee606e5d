"""The first page of /api/runs and text searches, in a small and in a large folder."""

from __future__ import annotations

from urllib.parse import quote

from tests.benchmarks.figures import Bench, Figure, median, milliseconds, quantile
from tests.benchmarks.folders import ABSENT, COMMON, RARE, indexed
from tests.benchmarks.servers import monitor, timed

MOST_S = 0.015
RATIO = 1.5
ASKED = {
    "first page": "/api/runs?page_size=50",
    "search, no hit": f"/api/runs?page_size=50&query={ABSENT}",
    # One in a hundred of 1,000 runs are ten: pages of ten are equally full in both.
    "search, 1 % hit, 10 a page": f"/api/runs?page_size=10&query={RARE}",
    "search, all hit": f"/api/runs?page_size=50&query={quote(COMMON)}",
}


def measure(bench: Bench) -> list[Figure]:
    """Both servers up at once, asked in turn, with the cache off."""
    small, large = 1_000, bench.few(100_000, 10_000)
    rounds = bench.few(300, 60)
    took: dict[tuple[str, int], list[float]] = {}
    with (
        monitor(indexed(bench, small), cache_seconds=0) as few,
        monitor(indexed(bench, large), cache_seconds=0) as many,
    ):
        connections = {small: few.connect(), large: many.connect()}
        for what, path in ASKED.items():
            for _ in range(5):
                for connection in connections.values():
                    timed(connection, path)
            for _ in range(rounds):
                for count, connection in connections.items():
                    took.setdefault((what, count), []).append(timed(connection, path)[0])
    figures = []
    for what in ASKED:
        one, other = took[what, small], took[what, large]
        ratio = median(other) / median(one)
        figures.append(
            Figure(
                f"{what} of {large:,} runs, cache off",
                f"p50 {milliseconds(median(other))}, p99 {milliseconds(quantile(other, 0.99))}, "
                f"ratio {ratio:.2f}",
                f"{small:,} runs: p50 {milliseconds(median(one))}",
                f"p50 at most {milliseconds(MOST_S)}, ratio at most {RATIO}",
                median(other) <= MOST_S and ratio <= RATIO,
            )
        )
    return figures
