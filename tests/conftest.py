"""What every test may ask for: a storage folder, and a monitor that really runs."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engines.leftovers import removed_at_the_end
from tests.engines.tying import tied

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # a closed connection is news to gRPC only

STARTED_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0
ROOM_BYTES = 3 << 30  # of the whole suite; 2.7 GB were seen
# Of tests that take long for what one more generated value may show; more of them in `make soak`.
EXAMPLES = int(os.environ.get("TESTS_EXAMPLES", "150"))


@dataclass(frozen=True)
class Monitor:
    """A running `asgard monitor`.

    `url` and `grpc` are its addresses, `storage` its folder, `output` the file that holds what it
    has said so far, `process` the process itself.
    """

    url: str
    grpc: str
    storage: Path
    output: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """End it as Ctrl-C does; answer its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the monitor did not stop:\n{self.output.read_text()}")


def free_port(*, below: int = 32_000) -> int:
    """A port that was free a moment ago, and that the kernel gives to nobody by itself.

    One that it had chosen could be taken, while its server is restarted, by any connection.
    """
    for _ in range(1_000):
        port = random.SystemRandom().randrange(10_000, below)
        with socket.socket() as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen(1)
            return port
    pytest.fail("no port is free")


def index_is_whole(storage: Path) -> bool:
    """Whether the index of a folder that is served is made: its end is told as a reset."""
    return index_file_is_whole(storage / ".asgard" / "index.sqlite3")


def index_file_is_whole(file: Path) -> bool:
    """Whether the index in this file is made."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as index:
            found = index.execute("SELECT value FROM meta WHERE key = 'state'").fetchone()
    except sqlite3.OperationalError:  # no file yet, or no table in it
        return False
    return found is not None and found[0] != "building"


@asynccontextmanager
async def a_connection(
    host: str | None, port: int | str | None, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, closed when the block ends, however that is."""
    reader, writer = await asyncio.open_connection(host, port, **options)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to begin the whole suite where it would fill the disk, and fail test by test."""
    if session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free < ROOM_BYTES:
        raise pytest.UsageError(
            f"the tests write up to {ROOM_BYTES >> 30} GiB into {place} at a time, and it has "
            f"{free / (1 << 30):.1f} GiB free: make room, or name another folder by TMPDIR"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip is a failure: what a test needs is brought by `make test`."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which no test may be: {report.longrepr}"
    return report


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_by_a_module() -> Iterator[None]:
    with removed_at_the_end():
        yield


@pytest.fixture(autouse=True)
def _nothing_left_by_a_test() -> Iterator[None]:
    with removed_at_the_end():
        yield


@pytest.fixture
def storage_dir(tmp_path: Path) -> Path:
    """An empty folder's path for a storage; it is made by whoever opens it first."""
    return tmp_path / "storage"


@pytest.fixture
def start_monitor(tmp_path: Path) -> Iterator[Callable[..., Monitor]]:
    """Start monitors: `start_monitor(storage, *arguments)`. All are stopped at the end."""
    running: list[Monitor] = []

    def start(storage: Path, *arguments: str) -> Monitor:
        port, grpc_port = free_port(), free_port()
        output = tmp_path / f"monitor-{len(running)}.log"
        command = [
            *(sys.executable, "-m", "gimle.asgard.cli", "monitor", "--no-browser"),
            *("--storage", str(storage), "--port", str(port), "--grpc-port", str(grpc_port)),
            *arguments,
        ]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                env={k: v for k, v in os.environ.items() if not k.startswith("ASGARD_")},
            )
        tied(process.pid)
        monitor = Monitor(
            f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", storage, output, process
        )
        running.append(monitor)
        wait_until_it_answers(monitor)
        return monitor

    yield start
    for monitor in running:
        monitor.stop()
        print(f"--- {monitor.url} said:\n{monitor.output.read_text()}")  # shown when the test fails


@pytest.fixture
def monitor(storage_dir: Path, start_monitor: Callable[..., Monitor]) -> Monitor:
    """A monitor of `storage_dir`, ready to serve."""
    return start_monitor(storage_dir)


def wait_until_it_answers(monitor: Monitor) -> None:
    """Return when the monitor serves; fail with its own words when it ends or is too slow."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if monitor.process.poll() is not None:
            pytest.fail(f"the monitor ended:\n{monitor.output.read_text()}")
        try:
            with urllib.request.urlopen(f"{monitor.url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    pytest.fail(f"no answer after {STARTED_WITHIN_S:.0f} s:\n{monitor.output.read_text()}")
