"""The documented commands, run by `uv run` as written, from a folder that is not the clone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.engines.tying import tied
from tests.snippets.snippets import environment, run_command

PATIENCE_S = 90.0


@contextmanager
def running(command: str, folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A documented command that stays up; it is ended by Ctrl-C, as its reader would.

    The documents say port 8000, which another program on this machine may hold; the environment
    moves the default, the command stays as written.
    """
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment(ASGARD_PORT=str(port), ASGARD_GRPC_PORT="0", BROWSER="true"),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        tied(process.pid)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to uv and to asgard
            try:
                status = process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
            said.seek(0)
            print(f"--- {command} ended with {status} and said:\n{said.read()}")
        assert status in {0, 130}, f"{command} ended with {status}"


def answer(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as body:
        return json.loads(body.read())


def eventually(port: int, path: str, enough: int, process: subprocess.Popen[str]) -> list[Any]:
    """The list at `path` once it has `enough` entries."""
    deadline = time.monotonic() + PATIENCE_S
    found: list[Any] | None = None
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended with {process.returncode}"
        try:
            found = answer(port, path)
        except OSError:
            found = None
        if found is not None and len(found) >= enough:
            return found
        time.sleep(0.2)
    pytest.fail(f"{path} says {found} after {PATIENCE_S:.0f} s, not {enough} entries")


@pytest.mark.parametrize(
    ("command", "storage", "given_port"),
    [
        ("uv run asgard monitor", "storage", False),
        ("uv run asgard monitor --storage ./my-results --port {port}", "my-results", True),
    ],
)
def test_the_monitor_starts_and_serves_the_folder(
    command: str, storage: str, given_port: bool, tmp_path: Path
) -> None:
    port = free_port()
    default = free_port() if given_port else port
    with running(command.format(port=port), tmp_path, default) as process:
        eventually(port, "/api/runs", 0, process)
        assert (tmp_path / storage / ".asgard_metadata.json").exists()
        script = (
            "from gimle.asgard.monitor.storage import AsgardStorage;"
            f"AsgardStorage('./{storage}').save_simulation_result("
            "name='From outside', result_type='Solution1D', data={'coefficients': [1.0, 1.0]})"
        )
        run_command(f'uv run python -c "{script}"', tmp_path)
        (run,) = eventually(port, "/api/runs", 1, process)
        assert (run["name"], run["result_count"]) == ("From outside", 1)


def test_the_documented_example_appears_in_the_monitor(tmp_path: Path) -> None:
    port = free_port()
    command = "uv run asgard example basic/01_integration.yaml --monitor"
    with running(command, tmp_path, port) as process:
        (listed,) = eventually(port, "/api/runs", 1, process)
        deadline = time.monotonic() + PATIENCE_S
        while answer(port, f"/api/run?id={listed['id']}")["status"] != "succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        run = answer(port, f"/api/run?id={listed['id']}")
        (result,) = run["results"]
        assert result["result_type"] == "Solution1D"
        assert result["view"]["kind"] == "line"
        assert process.poll() is None, "the monitor stays up when the example is done"


def test_a_category_appears_in_the_monitor_with_its_own_storage(tmp_path: Path) -> None:
    port = free_port()
    command = "uv run asgard example -c basic --monitor --storage ./experiment-results"
    with running(command, tmp_path, port) as process:
        runs = eventually(port, "/api/runs", 3, process)
        assert {run["equation"] is not None for run in runs} == {True}
    assert len(list((tmp_path / "experiment-results/runs").glob("*.json"))) >= 3


def test_examples_are_listed_and_saved_without_a_monitor(tmp_path: Path) -> None:
    listed = run_command("uv run asgard example --list", tmp_path)
    assert "basic/01_integration" in listed
    said = run_command("uv run asgard example basic/01_integration.yaml", tmp_path)
    assert len(list((tmp_path / "storage/runs").glob("*.json"))) == 1
    assert "storage" in said, "it says where it saved"
    rows = json.loads(run_command("uv run asgard runs list --json", tmp_path))
    assert len(rows) == 1


def test_the_stochastic_category_saves_ensembles(tmp_path: Path) -> None:
    run_command("uv run asgard example -c stochastic", tmp_path)
    results = (tmp_path / "storage/results").glob("*.json")
    types = {json.loads(path.read_text())["result_type"] for path in results}
    assert "StochasticEnsemble" in types


def test_the_default_port_is_8000(tmp_path: Path) -> None:
    said = run_command("uv run asgard monitor --help", tmp_path, COLUMNS="200", NO_COLOR="1")
    assert re.search(r"--port\b.*8000", said), said
