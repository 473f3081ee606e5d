"""The whole embedded server over a folder, in this loop: `async with a_monitor(folder) as it`."""

from __future__ import annotations

import asyncio
import atexit
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import orjson
from asgard_server.all_in_one import Addresses, run_service, serve
from asgard_server.settings import Settings

from tests.conftest import index_is_whole

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


def streams(document: dict[str, Any]) -> set[str]:
    """Paths of an OpenAPI document whose answers have no end to wait for."""
    return {
        path
        for path, item in document["paths"].items()
        for operation in item.values()
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    }


@asynccontextmanager
async def a_monitor(storage: Path, **settings: Any) -> AsyncIterator[Served]:
    """Serve a folder on free ports until the block ends, relaxed unless told."""
    if not await asyncio.to_thread(storage.exists):
        shutil.copytree(await _indexed(), storage)
    given = {"port": 0, "grpc_port": 0, "durability": "relaxed", "drain_seconds": 1.0, **settings}
    stopping = asyncio.Event()
    found: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(Settings(storage=storage, **given), ready=found.set_result, stopping=stopping)
    )
    waiting: set[asyncio.Future[Any]] = {serving, found}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    addresses = await found
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=addresses.page, timeout=20, limits=limits) as client:
        try:
            yield Served(addresses.page, addresses.grpc, Path(addresses.storage), client)
        finally:
            stopping.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await serving


_empty: list[Path] = []


async def _indexed() -> Path:
    """An empty storage that has been served before.

    The first start on a folder makes the index, which browsers see as a reset; a test
    that counts events starts behind it.
    """
    if not _empty:
        storage = Path(mkdtemp(prefix="asgard-empty-"))
        atexit.register(shutil.rmtree, storage, ignore_errors=True)
        async with run_service(Settings(storage=storage, grpc_port=0, drain_seconds=0.5)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await asyncio.to_thread(index_is_whole, storage):  # noqa: ASYNC110 - in SQLite
                    await asyncio.sleep(0.02)
        _empty.append(storage)
    return _empty[0]


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
async def a_browser(
    client: httpx.AsyncClient, last_id: str = "", key: str = ""
) -> AsyncIterator[Browser]:
    """Open /api/updates, with an API key; the connected event has been read."""
    headers = [(b"last-event-id", last_id.encode("latin-1"))] if last_id else []
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    async with client.stream("GET", "/api/updates", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        browser = Browser(answer.aiter_lines())
        assert await browser.event() == {"type": "connected"}
        yield browser
