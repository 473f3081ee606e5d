"""The whole embedded server over a folder, in this loop: `async with a_monitor(folder) as it`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from asgard_server.all_in_one import Addresses, serve
from asgard_server.settings import Settings

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs; `client` speaks to its page's address."""

    url: str
    grpc: str
    storage: Path
    client: httpx.AsyncClient

    async def save(self, **fields: Any) -> str:
        """Create a run over REST; answer its id."""
        answer = await self.client.post("/v1/runs", json={"name": "a run", **fields})
        assert answer.status_code == 200, answer.text
        made: str = answer.json()["id"]
        return made

    async def add(self, run_id: str, **fields: Any) -> str:
        """Add a result to a run over REST; answer its id."""
        result = {"result_type": "Solution1D", "data": {"x": [0, 1], "computed": [1, 2]}, **fields}
        answer = await self.client.post(f"/v1/runs/{run_id}/results", json={"result": result})
        assert answer.status_code == 200, answer.text
        made: str = answer.json()["id"]
        return made


@asynccontextmanager
async def a_monitor(storage: Path, **settings: Any) -> AsyncIterator[Served]:
    """Serve a folder on free ports until the block ends, relaxed unless told."""
    given = {"port": 0, "grpc_port": 0, "durability": "relaxed", "drain_seconds": 1.0, **settings}
    stopping = asyncio.Event()
    found: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(Settings(storage=storage, **given), ready=found.set_result, stopping=stopping)
    )
    await asyncio.wait({serving, found}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    addresses = await found
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=addresses.page, timeout=20, limits=limits) as client:
        try:
            yield Served(addresses.page, addresses.grpc, addresses.storage, client)
        finally:
            stopping.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await serving


class Browser:
    """Reads /api/updates as EventSource does: events, and the last id."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.last_id = ""

    async def event(self) -> dict[str, Any]:
        """Wait for the next event's data. Raises `EOFError` at the end of the stream."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "data":
                    data: dict[str, Any] = orjson.loads(value)
                    return data
        raise EOFError

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many events."""
        return [await self.event() for _ in range(count)]


@asynccontextmanager
async def a_browser(client: httpx.AsyncClient, last_id: str = "") -> AsyncIterator[Browser]:
    """Open /api/updates; the connected event has been read."""
    headers = {"last-event-id": last_id} if last_id else {}
    async with client.stream("GET", "/api/updates", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        browser = Browser(answer.aiter_lines())
        assert await browser.event() == {"type": "connected"}
        yield browser
