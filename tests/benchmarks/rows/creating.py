"""CreateRun through gRPC by 8 callers, against an empty grpc.aio echo."""

from __future__ import annotations

from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.servers import child, monitor, tell, told

LEAST = {"relaxed": 0.4, "durable": 0.3}


def measure(bench: Bench) -> list[Figure]:
    """Rounds of both in turn, by equal callers; the median round of each."""
    return [_one(bench, durability) for durability in LEAST]


def _one(bench: Bench, durability: str) -> Figure:
    seconds = bench.few(3, 1)
    storage = bench.folder / f"creating-{durability}"
    rates: dict[str, list[float]] = {"create": [], "echo": []}
    with (
        monitor(storage, durability=durability) as running,
        child("echo_server") as echo,
        child("grpc_callers", "create", running.grpc_port, seconds) as creators,
        child("grpc_callers", "echo", told(echo), seconds) as echoers,
    ):
        told(creators)
        told(echoers)
        for _ in range(bench.few(5, 3)):
            for kind, callers in (("echo", echoers), ("create", creators)):
                tell(callers, "go")
                rates[kind].append(told(callers))
        listed = len(running.get("/api/runs"))
    bench.say(
        f"  {durability}: {listed:,} runs; "
        + ", ".join(f"{kind} {[round(rate) for rate in each]}" for kind, each in rates.items())
    )
    return share(
        f"CreateRun, 8 callers, {durability}",
        median(rates["create"]),
        median(rates["echo"]),
        LEAST[durability],
        "calls/s",
        "empty grpc.aio echo",
    )
