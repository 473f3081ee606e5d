"""What a monitor costs that does nothing: memory, and the time until its first byte."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.benchmarks.figures import Bench, Figure, median, within
from tests.benchmarks.servers import monitor

MEMORY_MB = 150
COLD_S = 1.5
SETTLED_S = 5.0


def measure(bench: Bench) -> list[Figure]:
    """A start of the command until the page's first byte; memory five seconds later."""
    storage = bench.folder / "footprint"
    starts, memory = [], []
    for number in range(bench.few(7, 3)):
        with monitor(storage, "/") as running:
            starts.append(running.first_byte)
            if number == 0:
                running.get("/api/runs")
                time.sleep(SETTLED_S)
                memory.append(running.resident() / 1e6)
    bench.say(f"  first bytes {[round(each, 2) for each in starts]}")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import grpc, numpy, uvicorn"], check=True)
    imports = time.perf_counter() - began
    return [
        Figure(
            "idle memory of a monitor (RSS)",
            f"{memory[0]:.0f} MB",
            "",
            f"at most {MEMORY_MB} MB",
            memory[0] <= MEMORY_MB,
        ),
        within(
            "cold start to first byte of the page",
            median(starts),
            COLD_S,
            f"importing grpc, numpy and uvicorn alone: {imports * 1e3:.0f} ms",
        ),
    ]
