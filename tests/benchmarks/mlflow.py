"""An MLflow server to stand beside ours: brought into a folder of its own, asked by REST."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.servers import ROOT, free_port

VERSION = "3.17.2"
_FOLDER = ROOT / ".cache" / "mlflow"
_STARTED_WITHIN_S = 120.0


def brought() -> Path:
    """The Python that has MLflow; installed when it is first asked for."""
    python = _FOLDER / VERSION / "bin" / "python"
    done = _FOLDER / VERSION / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_FOLDER / VERSION)], check=True)
        wanted = [f"mlflow=={VERSION}", "psycopg2-binary"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        done.touch()
    return python


@contextmanager
def server(folder: Path, database: str) -> Iterator[int]:
    """Run it over a database (`sqlite:///...`, `postgresql://...`); answer its port."""
    # SQLAlchemy takes another driver for PostgreSQL unless it is told which there is.
    database = database.replace("postgresql://", "postgresql+psycopg2://")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    python = brought()
    log = folder / "mlflow.log"
    environ = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                *(str(python), "-m", "mlflow", "server", "--host", "127.0.0.1"),
                *("--port", str(port), "--backend-store-uri", database, "--serve-artifacts"),
                *("--artifacts-destination", str(folder / "artifacts"), "--workers", "2"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
    try:
        _wait(port, process, log)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"MLflow does not answer: {log.read_text()[-2000:]}")
