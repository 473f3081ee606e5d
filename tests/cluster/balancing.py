"""One address for several replicas, as a Service of Kubernetes is: whoever connects gets one of
those that listen."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress


class Balancer:
    """Hands connections to the ports in `targets` in turn, to those that take them.

    `taken` counts the connections of each.
    """

    def __init__(self, targets: Sequence[int]) -> None:
        self.port = 0
        self.taken: Counter[int] = Counter()
        self._targets = targets
        self._turn = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        self._open.add(writer)
        try:
            other = await self._connect()
            if other is None:
                return
            self._open.add(other[1])
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_pass_on(reader, other[1]))
                    tasks.create_task(_pass_on(other[0], writer))
            finally:
                self._open.discard(other[1])
                other[1].close()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += 1
        first = self._turn % len(self._targets)  # kept: others take their turns meanwhile
        for port in (*self._targets[first:], *self._targets[:first]):
            with suppress(OSError):
                streams = await asyncio.open_connection("127.0.0.1", port)
                self.taken[port] += 1
                return streams
        return None

    def close(self) -> None:
        """Cut every connection."""
        for writer in self._open:
            writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.close()


@asynccontextmanager
async def balanced(*targets: int) -> AsyncIterator[Balancer]:
    """A balancer over ports of this machine; `port` is its own."""
    balancer = Balancer(targets)
    server = await asyncio.start_server(balancer.take, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
        balancer.close()
