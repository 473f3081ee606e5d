"""Assets created inline through REST by 8 callers, against MLflow on the same kind of database."""

from __future__ import annotations

from subprocess import Popen

from tests.benchmarks import mlflow
from tests.benchmarks.clusters import required_cluster
from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.servers import child, monitor, tell, told

LEAST = 15
LEAST_CLUSTER = 30


def measure(bench: Bench) -> list[Figure]:
    """Rounds of both in turn; the median round of each."""
    return [_embedded(bench), _cluster(bench)]


def _embedded(bench: Bench) -> Figure:
    seconds = bench.few(4, 2)
    other = bench.folder / "mlflow"
    with (
        monitor(bench.folder / "registering", durability="durable") as running,
        mlflow.server(other, f"sqlite:///{other}/mlflow.db") as port,
        child("rest_callers", "asset", running.port, seconds) as ours,
        child("rest_callers", "mlflow", port, seconds) as theirs,
    ):
        return _figure(bench, "SQLite", LEAST, ours, theirs)


def _cluster(bench: Bench) -> Figure:
    seconds = bench.few(4, 2)
    with (
        required_cluster(bench.folder / "registering-cluster") as (gateway, key, database),
        mlflow.server(bench.folder / "mlflow-cluster", database) as port,
        child("rest_callers", "asset", gateway, seconds, key) as ours,
        child("rest_callers", "mlflow", port, seconds) as theirs,
    ):
        return _figure(bench, "a cluster on PostgreSQL", LEAST_CLUSTER, ours, theirs)


def _figure(
    bench: Bench, engine: str, least: float, ours: Popen[str], theirs: Popen[str]
) -> Figure:
    told(ours)
    told(theirs)
    rates: dict[str, list[float]] = {"asset": [], "mlflow": []}
    for _ in range(bench.few(5, 3)):
        for kind, callers in (("mlflow", theirs), ("asset", ours)):
            tell(callers, "go")
            rates[kind].append(told(callers))
    said = (f"{kind} {[round(rate, 1) for rate in each]}" for kind, each in rates.items())
    bench.say(f"  {engine}, creates a second: {', '.join(said)}")
    return share(
        f"create_inline through REST, 8 callers, {engine}",
        *(median(rates["asset"]), median(rates["mlflow"]), least),
        *("assets/s", "MLflow: a run with parameters and a text artifact"),
    )
