"""What two replicas of RunService cost against one: processor time for each call, and the rate."""

from __future__ import annotations

from tests.benchmarks.clusters import Running, cluster
from tests.benchmarks.figures import Bench, Figure, median
from tests.benchmarks.servers import child, tell, told

MOST = 1.15


def measure(bench: Bench) -> list[Figure]:
    """Rounds of both in turn; the median round of each."""
    seconds = bench.few(4, 2)
    costs: dict[int, list[float]] = {1: [], 2: []}
    rates: dict[int, list[float]] = {1: [], 2: []}
    with (
        cluster(bench.folder / "one", gateways=0) as one,
        cluster(bench.folder / "two", gateways=0, replicas=2) as two,
        child("result_callers", _addresses(one), 8, seconds) as first,
        child("result_callers", _addresses(two), 8, seconds) as second,
    ):
        told(first)
        told(second)
        for _ in range(bench.few(5, 3)):
            for number, running, callers in ((1, one, first), (2, two, second)):
                before = running.cpu_seconds()
                tell(callers, "go")
                calls, took = told(callers)
                costs[number].append((running.cpu_seconds() - before) / calls * 1000)
                rates[number].append(calls / took)
    cost, rate = ({n: median(some) for n, some in each.items()} for each in (costs, rates))
    return [
        Figure(
            "CPU of RunService for 1,000 AddResult, two replicas",
            f"{cost[2]:.2f} s = {cost[2] / cost[1]:.2f}",
            f"{cost[1]:.2f} s (one replica)",
            f"at most {MOST} of it",
            cost[2] <= MOST * cost[1],
        ),
        Figure(
            "AddResult by 8 callers, two replicas",
            f"{rate[2]:,.0f} calls/s = {rate[2] / rate[1]:.2f}",
            f"{rate[1]:,.0f} calls/s (one replica)",
            "not lower",
            rate[2] >= rate[1],
        ),
    ]


def _addresses(running: Running) -> str:
    return ",".join(replica.address for replica in running.cluster.replicas)
