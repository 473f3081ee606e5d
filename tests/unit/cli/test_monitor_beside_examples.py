"""`asgard example --monitor`: the page beside the computation, in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Monitor, free_port
from tests.engines.tying import tied

PATIENCE_S = 60.0


@contextmanager
def example(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`asgard example --monitor --no-browser ...` in a session of its own, ended at last."""
    command = [sys.executable, "-m", "gimle.asgard.cli", "example", "--monitor", "--no-browser"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASGARD_")}
    said = folder / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=clean | {"ASGARD_GRPC_PORT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        tied(process.pid)
        try:
            yield process, said
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            print(f"--- it said:\n{said.read_text()}")


def until(check: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def listed(port: int) -> list[dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/runs", timeout=5) as answer:
            runs: list[dict[str, object]] = json.loads(answer.read())
            return runs
    except OSError:
        return []


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return True
    except OSError:
        return False


def test_the_page_shows_the_run_and_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("basic/01_integration.yaml", "--port", str(port))
    with example(tmp_path, *arguments) as (process, said):
        until(lambda: "stays up" in said.read_text(), process)
        assert f"http://localhost:{port}" in said.read_text()
        until(lambda: len(listed(port)) == 1, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert "Traceback" not in said.read_text()
    assert not answers(port), "the monitor ended with it"


def test_ctrl_c_while_computing_ends_both_and_marks_the_run(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("engineering/09_galaxy", "--port", str(port), "--pace", "0.5")
    with example(tmp_path, *arguments) as (process, said):
        until(lambda: len(listed(port)) == 1, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert "Traceback" not in said.read_text()
        assert "marked failed" in said.read_text()
    assert not answers(port)
    (document,) = (tmp_path / "storage/runs").glob("*.json")
    assert json.loads(document.read_text())["status"] == "failed"


def test_even_a_kill_leaves_no_monitor_behind(tmp_path: Path) -> None:
    port = free_port()
    with example(tmp_path, "basic/04_exponential", "--port", str(port)) as (process, said):
        until(lambda: "stays up" in said.read_text(), process)
        process.kill()
        process.wait()
        deadline = time.monotonic() + PATIENCE_S
        while answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_monitor_that_already_shows_the_folder_is_used(
    monitor: Monitor, storage_dir: Path, tmp_path: Path
) -> None:
    port = int(monitor.url.rsplit(":", 1)[1])
    arguments = ("basic/04_exponential", "--storage", str(storage_dir), "--port", str(port))
    with example(tmp_path, *arguments) as (process, said):
        assert process.wait(PATIENCE_S) == 0
        assert re.search(rf"http://localhost:{port}\b", said.read_text())
    assert monitor.process.poll() is None, "somebody else's monitor is left alone"
    assert len(listed(port)) == 1


def test_a_port_taken_by_another_program_is_named_before_anything_runs(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        arguments = ("basic/04_exponential", "--port", str(port))
        with example(tmp_path, *arguments) as (process, said):
            assert process.wait(PATIENCE_S) == 1
            assert f"port {port} is in use" in said.read_text()
            assert "--port" in said.read_text()
    assert list((tmp_path / "storage/runs").glob("*.json")) == []
