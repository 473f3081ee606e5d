"""Fan-out of the change log to a thousand gRPC watchers, against a bare server of the same bytes.

The watchers are clients in Go, each with a connection of its own. Changes are made through
another replica than the one they watch: what is measured is the fan-out. It is held (SIGSTOP)
while they are made, so that all of them wait in the log, and then let go.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import NewResult

from tests.benchmarks.clusters import Running, cluster
from tests.benchmarks.figures import Bench, Figure, median, milliseconds, share
from tests.benchmarks.servers import ROOT, child, tell, told

WATCHERS = 1_000
RESULTS = 199  # of a run: with the run itself 200 changes
PACED_S = 0.5
LEAST = 0.7
MOST = 2.0

Round = dict[str, Any]


def measure(bench: Bench) -> list[Figure]:
    """Rounds at full rate, then one at half of it; each message played again by the bare server."""
    clients = _built()
    rounds = bench.few(3, 1)
    runs = bench.few(10, 5)
    ours: list[Round] = []
    bare: list[Round] = []
    with (
        cluster(bench.folder / "watching", replicas=2, gateways=0) as running,
        child("bare_fanout") as player,
    ):
        watched = running.cluster.replicas[0]
        method = "/gimle.asgard.v1.RunService/WatchRuns"
        port = told(player)
        with (
            _watchers(clients, watched.address, method) as ours_told,
            _watchers(clients, f"127.0.0.1:{port}", "/bench.Fanout/Watch") as bare_told,
        ):
            for _ in range(rounds):
                _expect(ours_told, runs * (RESULTS + 1))
                watched.signal(signal.SIGSTOP)
                try:
                    _save(running, runs, RESULTS, 0.0)
                finally:
                    watched.signal(signal.SIGCONT)
                ours.append(told(ours_told))
                bare.append(_played(bench, player, bare_told, ours[-1], paced=False))
            rate = median([_rate(each) for each in ours])
            changes = max(2, int(rate / WATCHERS / 2 * PACED_S))
            _expect(ours_told, runs * changes)
            _save(running, runs, changes - 1, PACED_S)
            paced = told(ours_told)
            # The same saves beside it, which nobody hears of: they take their share of the machine.
            watched.signal(signal.SIGSTOP)
            try:
                with ThreadPoolExecutor(1) as beside:
                    saving = beside.submit(_save, running, runs, changes - 1, PACED_S)
                    bare_paced = _played(bench, player, bare_told, paced, paced=True)
                    saving.result()
            finally:
                watched.signal(signal.SIGCONT)
    return [
        share(
            f"changes told to {WATCHERS:,} gRPC watchers",
            rate,
            median([_rate(each) for each in bare]),
            LEAST,
            "deliveries/s",
            "bare grpc.aio, the same bytes from memory",
        ),
        Figure(
            "the same at half that rate: behind the first who is told, p99",
            f"{milliseconds(paced['p99'])} = {paced['p99'] / bare_paced['p99']:.2f}",
            f"{milliseconds(bare_paced['p99'])} (bare grpc.aio)",
            f"at most {MOST} of it",
            paced["p99"] <= MOST * bare_paced["p99"],
        ),
    ]


def _built() -> Path:
    binary = ROOT / ".cache" / "made" / "fanout"
    binary.parent.mkdir(parents=True, exist_ok=True)
    source = ROOT / "tests" / "benchmarks" / "fanout_go"
    subprocess.run(
        [ROOT / ".ci" / "go", "build", "-C", str(source), "-o", str(binary), "."], check=True
    )
    return binary


@contextmanager
def _watchers(clients: Path, address: str, method: str) -> Iterator[subprocess.Popen[str]]:
    """A thousand clients that have connected."""
    process = subprocess.Popen(
        [str(clients), address, method, "", str(WATCHERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told(process)
        yield process
    finally:
        process.kill()
        process.communicate()


def _expect(watchers: subprocess.Popen[str], changes: int) -> None:
    tell(watchers, str(changes))
    told(watchers)


def _save(running: Running, runs: int, results: int, pace_s: float) -> None:
    """Runs with results, each saved by one call to the replica that nobody watches."""

    async def save() -> None:
        async with running.cluster.stub(running.cluster.replicas[1]) as stub:
            for _ in range(runs):
                began = time.monotonic()
                made = [
                    NewResult(
                        result_id=new_id(datetime.now(UTC)),
                        result_type="Solution1D",
                        data=b'{"x":[0,1],"computed":[1,2]}',
                        display=b'{"title":"one of many"}',
                    )
                    for _ in range(results)
                ]
                run = pb.CreateRunRequest(run_id=new_id(datetime.now(UTC)), name="fan-out")
                # Its one transaction is one burst of the log.
                await stub.SaveRun(pb.SaveRunRequest(run=run, results=made))
                time.sleep(max(0.0, began + pace_s - time.monotonic()))

    running.do(save())


def _played(
    bench: Bench,
    player: subprocess.Popen[str],
    watchers: subprocess.Popen[str],
    recorded: Round,
    *,
    paced: bool,
) -> Round:
    """What the watchers of the bare server saw of the same messages."""
    script = bench.folder / "fanout.json"
    times = recorded["times"] if paced else []
    script.write_bytes(orjson.dumps({"messages": recorded["messages"], "times": times}))
    _expect(watchers, recorded["deliveries"] // WATCHERS)
    tell(player, str(script))
    seen: Round = told(watchers)
    return seen


def _rate(seen: Round) -> float:
    return float(seen["deliveries"] / seen["seconds"])
