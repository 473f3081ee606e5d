"""Assets created inline through REST by 8 callers, against MLflow on the same kind of database."""

from __future__ import annotations

from tests.benchmarks import mlflow
from tests.benchmarks.figures import Bench, Figure, median, share
from tests.benchmarks.servers import child, monitor, tell, told

LEAST = 15


def measure(bench: Bench) -> list[Figure]:
    """Rounds of both in turn; the median round of each."""
    seconds = bench.few(4, 2)
    rates: dict[str, list[float]] = {"asset": [], "mlflow": []}
    other = bench.folder / "mlflow"
    with (
        monitor(bench.folder / "registering", durability="durable") as running,
        mlflow.server(other, f"sqlite:///{other}/mlflow.db") as port,
        child("rest_callers", "asset", running.port, seconds) as ours,
        child("rest_callers", "mlflow", port, seconds) as theirs,
    ):
        told(ours)
        told(theirs)
        for _ in range(bench.few(5, 3)):
            for kind, callers in (("mlflow", theirs), ("asset", ours)):
                tell(callers, "go")
                rates[kind].append(told(callers))
    said = (f"{kind} {[round(rate, 1) for rate in each]}" for kind, each in rates.items())
    bench.say(f"  creates a second: {', '.join(said)}")
    return [
        share(
            "create_inline through REST, 8 callers, SQLite",
            *(median(rates["asset"]), median(rates["mlflow"]), LEAST),
            *("assets/s", "MLflow: a run with parameters and a text artifact"),
        )
    ]
