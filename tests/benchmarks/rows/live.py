"""A save by another process until the browser's event, in real Chromium."""

from __future__ import annotations

import random
import time
from typing import Any

from playwright.sync_api import sync_playwright

from tests.benchmarks.figures import Bench, Figure, median, milliseconds, quantile
from tests.benchmarks.servers import child, monitor, tell, told

P50_S, P99_S = 0.05, 0.25
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Notes when each object was first told of, by the clock that the writer reads too.
LISTEN = """() => new Promise(connected => {
  window.seen = {};
  const source = new EventSource('/api/updates');
  source.onmessage = message => {
    const now = performance.timeOrigin + performance.now();
    const event = JSON.parse(message.data);
    if (event.type === 'connected') connected(true);
    else if (!(event.object_id in window.seen)) window.seen[event.object_id] = now;
  };
})"""


def measure(bench: Bench) -> list[Figure]:
    """The page open, saves of runs and results at irregular times, each waited for."""
    storage = bench.folder / "live"
    rng = random.Random(20261121)
    delays: dict[str, list[float]] = {"run": [], "result": []}
    with monitor(storage) as running, child("writer", storage) as writer, sync_playwright() as p:
        told(writer)
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(running.url)
        page.evaluate(LISTEN)
        time.sleep(1.5)
        for number in range(bench.few(300, 60)):
            kind = "run" if number % 2 else "result"
            tell(writer, kind)
            saved = told(writer)
            delays[kind].append(_seen(page, saved["id"]) - saved["began"])
            time.sleep(rng.uniform(0.0, 0.12))
        browser.close()
    both = delays["run"] + delays["result"]
    bench.say(
        ", ".join(
            f"  {kind}: p50 {milliseconds(median(each))}, worst {milliseconds(max(each))}"
            for kind, each in delays.items()
        )
    )
    p50, p99 = median(both), quantile(both, 0.99)
    return [
        Figure(
            "a save by another process until the browser's event",
            f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)} of {len(both)}",
            "from the beginning of the durable save, in Chromium with the page open",
            f"p50 {milliseconds(P50_S)}, p99 {milliseconds(P99_S)}",
            p50 <= P50_S and p99 <= P99_S,
        )
    ]


def _seen(page: Any, object_id: str) -> float:
    """When the browser was told of an object, in seconds since 1970."""
    page.wait_for_function("id => id in window.seen", arg=object_id, polling=5, timeout=20_000)
    return float(page.evaluate("id => window.seen[id]", object_id)) / 1e3
