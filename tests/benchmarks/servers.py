"""Real servers in processes of their own, and the plainest clients that can time them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]
STARTED_WITHIN_S = 60.0


@dataclass
class Monitor:
    """A running `asgard monitor`. `log` holds what it says, as JSON lines."""

    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int
    log: Path
    began: float
    first_byte: float = 0.0
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept alive, without Nagle's delay."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections.append(connection)
        return connection

    def get(self, path: str) -> Any:
        """Read JSON from a path."""
        connection = self.connect()
        try:
            return orjson.loads(read(connection, path))
        finally:
            connection.close()

    def events(self, message: str) -> list[dict[str, Any]]:
        """Log lines with this message so far."""
        lines = []
        for line in self.log.read_bytes().splitlines():
            if line.startswith(b"{"):
                entry = orjson.loads(line)
                if entry.get("event") == message:
                    lines.append(entry)
        return lines

    def resident(self) -> int:
        """Bytes of memory that only this process has (RSS)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kib = next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]
        return int(kib) << 10


def read(connection: http.client.HTTPConnection, path: str) -> bytes:
    """GET a path and read all of the answer. Raises RuntimeError unless it is 200."""
    connection.request("GET", path, headers={"accept-encoding": "identity"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"GET {path} answered {answer.status}: {body[:300]!r}")
    return body


def timed(connection: http.client.HTTPConnection, path: str) -> tuple[float, bytes]:
    """GET a path: seconds until the last byte, and the body."""
    began = time.perf_counter()
    body = read(connection, path)
    return time.perf_counter() - began, body


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def monitor(storage: Path, path: str = "/healthz", **settings: object) -> Iterator[Monitor]:
    """Run `asgard monitor` over a folder; ready when `path` has answered its first byte."""
    port, grpc_port = free_port(), free_port()
    environ = {key: text for key, text in os.environ.items() if not key.startswith("ASGARD_")}
    environ |= {f"ASGARD_{name.upper()}": str(value) for name, value in settings.items()}
    environ |= {"ASGARD_LOG_LEVEL": "info", "ASGARD_LOG_FORMAT": "json"}
    log = storage.with_name(f"{storage.name}-{port}.log")
    with log.open("wb") as file:
        began = time.perf_counter()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gimle.asgard.cli", "monitor", "--no-browser"),
                *("--storage", str(storage), "--port", str(port), "--grpc-port", str(grpc_port)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=storage.parent,
            env=environ,
        )
    running = Monitor(process, port, grpc_port, log, began)
    try:
        running.first_byte = _first_byte(running, path) - began
        yield running
    finally:
        for connection in running.connections:
            connection.close()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_byte(running: Monitor, path: str) -> float:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    deadline = time.perf_counter() + STARTED_WITHIN_S
    while time.perf_counter() < deadline:
        if running.process.poll() is not None:
            raise RuntimeError(f"the monitor ended: {running.log.read_text()[-2000:]}")
        try:
            with socket.create_connection(("127.0.0.1", running.port), timeout=60) as sock:
                sock.sendall(request)
                first = sock.recv(65_536)
                arrived = time.perf_counter()
                if b" 200 " in first[:20]:
                    return arrived
        except OSError:
            pass
        time.sleep(0.002)
    raise RuntimeError(f"no answer: {running.log.read_text()[-2000:]}")


@contextmanager
def child(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a module of tests.benchmarks.children; speak with it by lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.benchmarks.children.{name}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def told(process: subprocess.Popen[str]) -> Any:
    """Wait for the next line of a child, a JSON value."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a child ended early: {process.args!r}")
    return orjson.loads(line)


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Give a child a line."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
