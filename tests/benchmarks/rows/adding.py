"""AddResult on PostgreSQL, Redis and MinIO by 8 callers, against an insert and a put alone."""

from __future__ import annotations

from tests.benchmarks.clusters import cluster
from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.servers import child, tell, told
from tests.engines import minio

LEAST = {8: 0.6, 1: 0.5}


def measure(bench: Bench) -> list[Figure]:
    """Rounds of all three in turn, by equal callers; the median round of each."""
    seconds = bench.few(3, 2)
    rates: dict[str, list[float]] = {"floor": [], "8": [], "1": []}
    with cluster(bench.folder / "adding", gateways=0) as running:
        place = f"{minio.server().endpoint}/{minio.server().bucket()}"
        address = running.cluster.replicas[0].address
        with (
            child("result_callers", "floor", running.cluster.dsn, place, seconds) as floor,
            child("result_callers", address, 8, seconds) as spread,
            child("result_callers", address, 1, seconds) as together,
        ):
            callers = {"floor": floor, "8": spread, "1": together}
            for each in callers.values():
                told(each)
            for _ in range(bench.few(5, 3)):
                for kind, each in callers.items():
                    tell(each, "go")
                    calls, took = told(each)
                    rates[kind].append(calls / took)
    bench.say(
        "  " + ", ".join(f"{kind} {[round(r) for r in some]}" for kind, some in rates.items())
    )
    return [
        share(
            f"AddResult, 8 callers over {runs} run{'s' * (runs > 1)}, PostgreSQL, Redis, MinIO",
            median(rates[str(runs)]),
            median(rates["floor"]),
            least,
            "calls/s",
            "asyncpg insert and one S3 put",
        )
        for runs, least in LEAST.items()
    ]
