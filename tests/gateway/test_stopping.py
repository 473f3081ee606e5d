from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from tests.conftest import a_connection
from tests.gateway.monitors import a_monitor
from tests.rpc.process import a_server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_is_silent_and_tells_every_stream_that_it_ends(
    tmp_path: Path, how: signal.Signals
) -> None:
    log = tmp_path / "log"
    async with (
        a_server(tmp_path / "storage", log) as server,
        httpx.AsyncClient(base_url=server.page, timeout=30) as client,
    ):
        begun = [asyncio.Event(), asyncio.Event()]
        reading = [
            asyncio.create_task(_read(client, path, first))
            for path, first in zip(("/api/updates", "/v1/runs:watch"), begun, strict=True)
        ]
        for first in begun:
            await asyncio.wait_for(first.wait(), 30)
        assert await server.end(how) == 0
        updates, watch = await asyncio.gather(*reading)
    # EventSource comes back by itself; a program that watches is told why.
    assert "error" not in updates
    event, data = watch.strip().split("\n\n")[-1].split("\n")
    assert event == "event: error"
    problem = orjson.loads(data.removeprefix("data: "))
    assert (problem["status"], problem["reason"]) == (503, "STOPPING")
    assert log.read_text() == ""


async def _read(client: httpx.AsyncClient, path: str, first: asyncio.Event) -> str:
    """All that a stream says until it ends in order."""
    said = ""
    async with client.stream("GET", path) as response:
        assert response.status_code == 200
        async for text in response.aiter_text():
            said += text
            first.set()
    return said


async def test_a_connection_is_kept_for_longer_than_those_who_use_it_again_keep_it(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        monitor = await stack.enter_async_context(a_monitor(tmp_path / "storage"))
        split = urlsplit(monitor.url)
        connection = a_connection(split.hostname, split.port)
        reader, writer = await stack.enter_async_context(connection)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        with pytest.raises(TimeoutError):  # httpx lets go of it after 5 s
            await asyncio.wait_for(reader.read(1), 6)
