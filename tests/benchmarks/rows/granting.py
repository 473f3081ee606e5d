"""Grants for the ten files of a job through gRPC by 8 callers, against an empty grpc.aio echo.

Beside it, in the same rounds, what is left when BlobService does nothing but ten signatures and
one insert: that much of it is gRPC, Python and PostgreSQL.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.benchmarks.clusters import blob_cluster
from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.servers import child, tell, told

LEAST = 0.3


def measure(bench: Bench) -> list[Figure]:
    """Rounds of all in turn, by equal callers; the median round of each."""
    seconds = bench.few(3, 2)
    rates: dict[str, list[float]] = {"echo": [], "grants": [], "bare": []}
    with ExitStack() as stack:
        cluster = stack.enter_context(blob_cluster(bench.folder / "granting"))
        echo = stack.enter_context(child("echo_server"))
        bare = stack.enter_context(child("bare_grants", cluster.dsn))
        callers = {
            kind: stack.enter_context(child("grpc_callers", asked, port, seconds))
            for kind, asked, port in (
                ("echo", "echo", told(echo)),
                ("grants", "grants", cluster.replicas[0].port),
                ("bare", "grants", told(bare)),
            )
        }
        for each in callers.values():
            told(each)
        for _ in range(bench.few(5, 3)):
            for kind, each in callers.items():
                tell(each, "go")
                rates[kind].append(told(each))
    bench.say(
        "  " + ", ".join(f"{kind} {[round(rate) for rate in each]}" for kind, each in rates.items())
    )
    floor = median(rates["bare"])
    bench.say(
        f"  ten signatures and one insert alone: {floor:,.0f} calls/s"
        f" = {floor / median(rates['echo']):.2f}"
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
