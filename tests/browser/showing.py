"""What the browser tests share: the monitor's process, what it shows, and what is painted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gimle.asgard.monitor.storage import AsgardStorage
from playwright.sync_api import ConsoleMessage, Page, Request

from tests.conftest import free_port
from tests.engines.tying import tied

SPIKE_AT, SPIKE = 4321, 1.5
STARTED_WITHIN_S = 120.0


def find_chromium() -> str:
    """The browser's executable."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    raise FileNotFoundError("no Chromium on the PATH; `make test` brings it")


class Server:
    """A monitor that can be stopped and started again at the same address."""

    def __init__(
        self, storage: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.storage, self.log = storage, log
        self._environment = environment or {}
        self.port, self.grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gimle.asgard.cli", "monitor", "--no-browser"),
                    *("--storage", str(self.storage), "--port", str(self.port)),
                    *("--grpc-port", str(self.grpc_port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if not k.startswith("ASGARD_")}
                | {**self._environment},
            )
        tied(self._process.pid)
        deadline = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        raise RuntimeError(f"the monitor does not serve:\n{self.log.read_text()}")

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None

    def python(self, executable: str, lines: str, folder: Path) -> str:
        """What lines of Python print when another process runs them with `storage` open."""
        opening = (
            "import numpy as np\n"
            "from gimle.asgard.monitor.storage import AsgardStorage\n"
            f"storage = AsgardStorage({str(self.storage)!r})\n"
        )
        done = subprocess.run(
            [executable, "-c", opening + lines],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Watched:
    """A page and what the browser complains about it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.complaints: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        # A server that is away, or an answer that says so, is told by the browser too; the page's
        # own words on it are what the tests look at.
        if "Failed to load resource" in message.text or message.type in ("log", "info", "debug"):
            return
        # These tests look at pixels, which the browser finds worth a remark.
        if "willReadFrequently" in message.text:
            return
        self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.complaints.append(f"a request to somebody else: {request.url}")


def every_kind(storage: AsgardStorage) -> dict[str, str]:
    """Save a finished run for each kind of view; answer the runs' ids."""
    rng = np.random.default_rng(7)
    t = np.linspace(0, 40, 10_000)
    curve = np.exp(-0.1 * t) * np.cos(t)
    spiked = curve.copy()
    spiked[SPIKE_AT] = SPIKE
    x = np.linspace(-2, 2, 150)
    field = np.cos(3 * np.hypot(*np.meshgrid(x, x)))
    walk = np.cumsum(rng.normal(size=(200, 300)), axis=1)
    angle = np.linspace(0, 6, 120)
    orbit = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None, :]
    rolled = np.stack([np.roll(field, shift, axis=1) for shift in range(40)])
    steps = np.arange(500)
    data: dict[str, tuple[str, dict[str, Any]]] = {
        "line": ("Solution1D", {"x": t, "computed": spiked, "expected": curve}),
        "heatmap": ("Solution2D", {"x": x, "y": x, "computed": field, "expected": field * 0.9}),
        "ensemble": ("StochasticEnsemble", {"t": np.arange(300) / 100, "paths": walk}),
        "steps": ("DiscreteSequence", {"values": [1, 1, 2, 3, 5, 8, 13, 21], "expected": [1] * 8}),
        "optimization": (
            "OptimizationResult",
            {
                "loss": 10 * np.exp(-steps / 50) + 0.001,
                "parameters": {"a": 1 - np.exp(-steps / 80), "b": np.exp(-steps / 80)},
                "optimum": {"a": 1.0, "b": 0.0},
            },
        ),
        "frames": ("PhysicsAnimation", {"t": np.arange(40) * 0.1, "frames": rolled}),
        "bodies": (
            "PhysicsAnimation",
            {"t": angle, "positions": np.concatenate([orbit, -orbit], 1)},
        ),
        "tree": ("CalibrationReport", {"chi2": 1.25, "residuals": rng.normal(size=3_000)}),
    }
    runs = {}
    for kind, (result_type, values) in data.items():
        run = storage.create_run(name=f"A run drawn as {kind}", equation="int(f, x) = g")
        storage.add_result(
            run, result_type=result_type, data=values, display={"title": f"The {kind}"}
        )
        storage.finish_run(run)
        runs[kind] = run.id
    return runs


# Pixels of clear colour (not grey) on the canvases of an element: what a curve or a field is
# made of, and axes are not.
COLOURED = """element => {
  let coloured = 0;
  for (const canvas of element.querySelectorAll("canvas")) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      const high = Math.max(data[i], data[i + 1], data[i + 2]);
      const low = Math.min(data[i], data[i + 1], data[i + 2]);
      if (data[i + 3] > 40 && high - low > 50) coloured++;
    }
  }
  return coloured;
}"""

# The highest and the rightmost coloured pixel of the first canvas, as shares of its size.
EDGES = """element => {
  const canvas = element.querySelector("canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let top = height, right = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const i = (y * width + x) * 4;
    const high = Math.max(data[i], data[i + 1], data[i + 2]);
    const low = Math.min(data[i], data[i + 1], data[i + 2]);
    if (data[i + 3] > 40 && high - low > 50) { top = Math.min(top, y); right = Math.max(right, x); }
  }
  return { top: top / height, right: right / width };
}"""


def coloured(page: Page, selector: str) -> int:
    """How many pixels of clear colour are painted within an element."""
    return int(page.locator(selector).first.evaluate(COLOURED))


def wait_until(page: Page, condition: str, within_s: float = 40.0) -> None:
    """Wait until an expression is true in the page, whose policy forbids Playwright's own way."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if page.evaluate(condition):
            return
        page.wait_for_timeout(30)
    raise AssertionError(f"never true: {condition}")


def wait_for_paint(page: Page, selector: str, at_least: int, within_s: float = 40.0) -> int:
    """Wait until so many pixels are painted; answer how many are."""
    deadline = time.monotonic() + within_s
    found = 0
    page.wait_for_selector(selector)
    while time.monotonic() < deadline:
        found = coloured(page, selector)
        if found >= at_least:
            return found
        page.wait_for_timeout(50)
    raise AssertionError(f"{found} coloured pixels in {selector}, expected at least {at_least}")
