"""Grants for the ten files of a job through gRPC by 8 callers, against an empty grpc.aio echo."""

from __future__ import annotations

from tests.benchmarks.clusters import blob_cluster
from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.servers import child, tell, told

LEAST = 0.3


def measure(bench: Bench) -> list[Figure]:
    """Rounds of both in turn, by equal callers; the median round of each."""
    seconds = bench.few(3, 2)
    rates: dict[str, list[float]] = {"grants": [], "echo": []}
    with (
        blob_cluster(bench.folder / "granting") as cluster,
        child("echo_server") as echo,
        child("grpc_callers", "grants", cluster.replicas[0].port, seconds) as askers,
        child("grpc_callers", "echo", told(echo), seconds) as echoers,
    ):
        told(askers)
        told(echoers)
        for _ in range(bench.few(5, 3)):
            for kind, callers in (("echo", echoers), ("grants", askers)):
                tell(callers, "go")
                rates[kind].append(told(callers))
    bench.say(
        "  " + ", ".join(f"{kind} {[round(rate) for rate in each]}" for kind, each in rates.items())
    )
    return [
        share(
            "grants for a job of 10 files, 8 callers",
            median(rates["grants"]),
            median(rates["echo"]),
            LEAST,
            "calls/s",
            "empty grpc.aio echo",
        )
    ]
