"""Opening a run with a result of ten million points, and zooming into it."""

from __future__ import annotations

import time

import numpy as np
import orjson
from gimle.asgard.monitor.storage import AsgardStorage

from tests.benchmarks.figures import Bench, Figure, median, quantile, within
from tests.benchmarks.servers import monitor, timed

POINTS = 10_000_000
MOST_S = 0.1


def measure(bench: Bench) -> list[Figure]:
    """Over HTTP, files in the page cache; every request differs, so no cache can answer."""
    storage = bench.folder / "opening"
    x = np.linspace(0.0, 100.0, POINTS)
    expected = np.sin(x)
    computed = expected + np.random.default_rng(1).normal(0.0, 0.01, POINTS)
    computed[4_321_000] = 9.0
    place = AsgardStorage(str(storage), durability="relaxed")
    figures = []
    runs = {}
    for what, data in (
        ("computed", {"x": x, "computed": computed}),
        ("computed and expected", {"x": x, "computed": computed, "expected": expected}),
    ):
        run = place.create_run(what)
        runs[what] = (run.id, place.add_result(run, result_type="Solution1D", data=data).id)
    with monitor(storage) as running:
        connection = running.connect()
        for what, (run_id, result_id) in runs.items():
            view = f"/v1/results/{result_id}/view"
            first = timed(connection, f"/api/run?id={run_id}")
            spike = max(orjson.loads(first[1])["results"][0]["view"]["series"][0]["y"])
            if spike != 9.0:
                raise RuntimeError("a spike of one sample was lost")
            opened, zoomed = [], []
            for number in range(bench.few(20, 5)):
                opened.append(timed(connection, f"{view}?width={1200 + number}")[0])
                low = 1.0 + 4.5 * number
                span = f"x_min={low}&x_max={low + (10.0 if number % 2 else 0.01)}"
                zoomed.append(timed(connection, f"{view}?width=1200&{span}")[0])
            began = time.perf_counter()
            memory = _read_once(x if what == "computed" else expected, computed)
            plain = f"numpy min and max of its arrays: {memory * 1e3:.0f} ms"
            del began
            bench.say(f"  {what}: first opening of the run {first[0] * 1e3:.1f} ms")
            name = f"{POINTS:,} points ({what})"
            figures += [
                within(f"opening a run with {name}", first[0], MOST_S, plain, "the first time"),
                within(
                    f"drawing {name}",
                    median(opened),
                    MOST_S,
                    plain,
                    f"p50; worst {quantile(opened, 1.0) * 1e3:.0f} ms",
                ),
                within(
                    f"zooming into {name}",
                    median(zoomed),
                    MOST_S,
                    plain,
                    f"p50; worst {quantile(zoomed, 1.0) * 1e3:.0f} ms",
                ),
            ]
    return figures


def _read_once(*arrays: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    began = time.perf_counter()
    for array in arrays:
        array.min()
        array.max()
    return time.perf_counter() - began
