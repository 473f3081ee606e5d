from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from asgard_server.gateway.event_stream import EventStream, Streams, event
from starlette.applications import Starlette

from tests.conftest import a_connection
from tests.gateway.toys import serving


def served(streams: Streams, source: Any, **options: Any) -> Starlette:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await EventStream(source(), streams, **options)(scope, receive, send)

    app = Starlette()
    app.router.default = answer
    return app


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield event(b"x" * 60_000)
        await asyncio.sleep(0)


@pytest.mark.parametrize("line_break", ["\n", "\r", "\0"])
def test_an_id_cannot_smuggle_lines_into_the_stream(line_break: str) -> None:
    assert event(b"{}", f"a{line_break}data: evil") == b"data: {}\n\n"
    assert event(b"{}", "abc") == b"id: abc\ndata: {}\n\n"


async def test_a_client_that_takes_nothing_is_let_go_and_the_others_are_not() -> None:
    streams = Streams(stuck_seconds=0.3)
    async with serving(served(streams, endless)) as address:
        split = urlsplit(address)
        async with (
            a_connection(split.hostname, split.port, limit=1) as (_, stuck),
            httpx.AsyncClient() as client,
            client.stream("GET", address) as answer,
        ):
            stuck.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            stuck.transport.pause_reading()  # type: ignore[attr-defined]  # the socket's can
            pieces = answer.aiter_raw()
            for _ in range(300):
                await anext(pieces)
                if len(streams) == 2 and streams.sweep():
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("it was never found to be stuck")
            for _ in range(50):
                await anext(pieces)
            assert len(streams) == 1
        streams.close()


async def test_a_source_is_closed_when_its_client_leaves() -> None:
    streams, ended = Streams(), asyncio.Event()
    async with serving(served(streams, endless, on_end=ended.set)) as address:
        async with httpx.AsyncClient() as client, client.stream("GET", address) as answer:
            await anext(answer.aiter_raw())
            assert len(streams) == 1
        async with asyncio.timeout(5):
            await ended.wait()
        await asyncio.sleep(0)
        assert len(streams) == 0


async def test_after_close_no_stream_begins() -> None:
    streams, ended = Streams(), asyncio.Event()
    streams.close()
    async with serving(served(streams, endless, on_end=ended.set)) as address:
        async with httpx.AsyncClient() as client:
            assert (await client.get(address)).content == b""
        assert ended.is_set()
