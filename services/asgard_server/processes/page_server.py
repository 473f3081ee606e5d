"""uvicorn, as a guest of a process that does more than serve HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import uvicorn

# Longer than clients and proxies keep an idle connection (httpx 5 s, nginx 60 s): whoever closes
# first must be the one who sends, or a request meets a connection that is just being closed.
KEPT_ALIVE_S = 75
_DATE_S = 1.0


class PageServer(uvicorn.Server):
    """Serves an ASGI application on the running loop; `up` is set when it does."""

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
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let it end: it then waits `drain_seconds` for what has begun."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Renew the date of answers once a second until it is to end.

        uvicorn's own looks ten times a second whether it is to end: nearly half of what the loop
        of a process takes that nobody asks anything.
        """
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_DATE_S):
                    await self._stopping.wait()

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
        server.stop()
        await serving
