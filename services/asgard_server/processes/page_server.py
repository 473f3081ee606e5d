"""uvicorn, as a guest of a process that does more than serve HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

# Longer than clients and proxies keep an idle connection (httpx 5 s, nginx 60 s): whoever closes
# first must be the one who sends, or a request meets a connection that is just being closed.
KEPT_ALIVE_S = 75


class PageServer(uvicorn.Server):
    """Serves an ASGI application on the running loop; `up` is set when it does.

    Set `should_exit` to stop it: it then waits `drain_seconds` for what has begun.
    """

    def __init__(self, app: Any, *, drain_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEPT_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
            )
        )
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which stops more than the page."""
        yield


@asynccontextmanager
async def served(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serve a small application until the block ends; what it is asked then is answered."""
    server = PageServer(app, drain_seconds=1)
    serving = asyncio.create_task(server.serve([listener]))
    up = asyncio.create_task(server.up.wait())
    await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
    up.cancel()
    try:
        yield
    finally:
        server.should_exit = True
        await serving
