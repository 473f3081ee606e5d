"""What two replicas of RunService cost against one: processor time for each call, and the rate.

Beside it, in the same rounds, what is left when RunService does nothing but the same put and an
insert, in one process and in two: that much of it is callers divided over two loops.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.benchmarks.clusters import Running, cluster, cpu_seconds
from tests.benchmarks.figures import Bench, Figure, median
from tests.benchmarks.servers import child, tell, told
from tests.engines import minio

MOST = 1.15
CALLERS_RUNS = 8


class _Side(NamedTuple):
    """Servers, their callers, and what each round came to: seconds for 1,000 calls, calls/s."""

    pids: list[int]
    callers: subprocess.Popen[str]
    costs: list[float]
    rates: list[float]

    def round(self) -> None:
        """Have the callers call, and note what it took."""
        before = self._seconds()
        tell(self.callers, "go")
        calls, took = told(self.callers)
        self.costs.append((self._seconds() - before) / calls * 1000)
        self.rates.append(calls / took)

    def _seconds(self) -> float:
        return sum(map(cpu_seconds, self.pids))


def measure(bench: Bench) -> list[Figure]:
    """Rounds of all in turn, each second one backwards; the median round of each."""
    seconds = bench.few(4, 2)
    with ExitStack() as stack:
        one = stack.enter_context(cluster(bench.folder / "one", gateways=0))
        two = stack.enter_context(cluster(bench.folder / "two", gateways=0, replicas=2))
        sides = [stack.enter_context(_replicas(each, seconds)) for each in (one, two)]
        sides += [stack.enter_context(_bare(one.cluster.dsn, n, seconds)) for n in (1, 2)]
        for number in range(bench.few(5, 3)):
            for side in reversed(sides) if number % 2 else sides:
                side.round()
    cost = [median(side.costs) for side in sides]
    rate = [median(side.rates) for side in sides]
    bench.say(
        f"  a put and an insert alone: {cost[2]:.2f} s for 1,000 calls at {rate[2]:,.0f}/s in one"
        f" process, {cost[3]:.2f} s = {cost[3] / cost[2]:.2f} at {rate[3]:,.0f}/s in two"
    )
    return [
        Figure(
            "CPU of RunService for 1,000 AddResult, two replicas",
            f"{cost[1]:.2f} s = {cost[1] / cost[0]:.2f}",
            f"{cost[0]:.2f} s (one replica)",
            f"at most {MOST} of it",
            cost[1] <= MOST * cost[0],
        ),
        Figure(
            "AddResult by 8 callers, two replicas",
            f"{rate[1]:,.0f} calls/s = {rate[1] / rate[0]:.2f}",
            f"{rate[0]:,.0f} calls/s (one replica)",
            "not lower",
            rate[1] >= rate[0],
        ),
    ]


@contextmanager
def _replicas(running: Running, seconds: int) -> Iterator[_Side]:
    addresses = ",".join(replica.address for replica in running.cluster.replicas)
    with _calling(addresses, [each.pid for each in running.cluster.replicas], seconds) as side:
        yield side


@contextmanager
def _bare(dsn: str, processes: int, seconds: int) -> Iterator[_Side]:
    store = minio.server()
    place = (dsn, store.endpoint, store.bucket())
    with ExitStack() as stack:
        made = [stack.enter_context(child("bare_results", *place)) for _ in range(processes)]
        addresses = ",".join(f"127.0.0.1:{told(each)}" for each in made)
        yield stack.enter_context(_calling(addresses, [each.pid for each in made], seconds))


@contextmanager
def _calling(addresses: str, pids: list[int], seconds: int) -> Iterator[_Side]:
    with child("result_callers", addresses, CALLERS_RUNS, seconds) as callers:
        told(callers)
        yield _Side(pids, callers, [], [])
