"""Server-sent events over ASGI, written for many clients: no response object, no queue each.

A stream pulls from its source and sends; one task more waits for the client to go.
A client that takes nothing of what it is sent for `STUCK_SECONDS` is let go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from gimle.asgard.core.errors import StorageUnavailableError
from starlette.types import Receive, Scope, Send

STUCK_SECONDS = 30.0
# A stream of a watch says why it ends: it has so long for it when the process stops.
LAST_WORD_SECONDS = 0.2
KEEP_ALIVE = b": keep-alive\n\n"

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def event(data: bytes, event_id: str = "") -> bytes:
    """Write one event; `data` is JSON on one line, an id with a line break is left out."""
    if event_id and not set(event_id) & {"\n", "\r", "\0"}:
        return b"id: %b\ndata: %b\n\n" % (event_id.encode(), data)
    return b"data: %b\n\n" % data


class Streams:
    """All event streams that are open: counted, swept, and ended when the process stops."""

    def __init__(
        self, keep_alive_seconds: float = 15.0, stuck_seconds: float = STUCK_SECONDS
    ) -> None:
        self.keep_alive_seconds = keep_alive_seconds
        self._stuck_seconds = stuck_seconds
        self._open: set[EventStream] = set()
        self.closing = False

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, stream: EventStream) -> None:
        """Keep a stream in view."""
        self._open.add(stream)

    def leave(self, stream: EventStream) -> None:
        """Forget a stream."""
        self._open.discard(stream)

    def close(self) -> None:
        """End all streams in a moment, and refuse new ones. Call it when the server stops."""
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_later(LAST_WORD_SECONDS, self._stop_all)

    def _stop_all(self) -> None:
        for stream in tuple(self._open):
            stream.stop()

    def sweep(self) -> int:
        """Let go of clients that are stuck; answer how many."""
        behind = time.monotonic() - self._stuck_seconds
        stuck = [s for s in self._open if s.sending_since and s.sending_since < behind]
        for stream in stuck:
            stream.stop()
        return len(stuck)


class EventStream:
    """One client's stream, as an ASGI application.

    It ends when `until` does, where that is set before it begins, with `last_word`.
    """

    def __init__(
        self,
        source: AsyncIterator[bytes],
        streams: Streams,
        *,
        idle_comments: bool = False,
        on_end: Callable[[], object] | None = None,
        last_word: bytes = b"",
    ) -> None:
        self._source = source
        self._on_end = on_end
        self._last_word = last_word
        self._streams = streams
        self._idle_comments = idle_comments
        self._pump: asyncio.Task[None] | None = None
        self.until: Coroutine[Any, Any, object] | None = None
        self.sending_since = 0.0
        self._is_over = False

    def stop(self) -> None:
        """End the stream now."""
        if self._pump is not None:
            self._pump.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the source ends, the client goes, or the stream is stopped."""
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        if scope["method"] == "HEAD" or self._streams.closing:
            await self._end(self._source)
            if self.until is not None:
                self.until.close()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        pump = self._pump = asyncio.ensure_future(self._run(send))
        leaving = _gone(receive)
        ending = leaving if self.until is None else _first(leaving, self._over())
        gone = asyncio.ensure_future(ending)
        self._streams.enter(self)
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.leave(self)
            pump.cancel()
            gone.cancel()
            ended = await asyncio.gather(pump, gone, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]
        if not self.sending_since:  # else the client takes nothing: the connection is just closed
            last = self._last_word if self._is_over else b""
            await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _over(self) -> None:
        assert self.until is not None  # noqa: S101 - asked only where it is there
        # Where nobody can say who the caller is, it may be who it was: it comes back, and is told.
        self._is_over = not isinstance(await self.until, StorageUnavailableError)

    async def _run(self, send: Send) -> None:
        source = self._source
        if self._idle_comments:
            source = _with_comments(source, self._streams.keep_alive_seconds)
        try:
            async for text in source:
                self.sending_since = time.monotonic()
                await send({"type": "http.response.body", "body": text, "more_body": True})
                self.sending_since = 0.0
        finally:
            await self._end(source)

    async def _end(self, source: AsyncIterator[bytes]) -> None:
        await _close(source)
        if self._on_end is not None:
            self._on_end()  # a source that never began has run no `finally` of its own


async def _first(*endings: Coroutine[Any, Any, object]) -> None:
    """Wait for the first to end; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in endings]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(source: AsyncIterator[bytes]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


async def _with_comments(
    source: AsyncIterator[bytes], silence_seconds: float
) -> AsyncIterator[bytes]:
    """Put a comment where a source is silent, so that proxies keep the connection."""
    waiting: asyncio.Future[bytes] = asyncio.ensure_future(anext(source))
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=silence_seconds)
            if not done:
                yield KEEP_ALIVE
                continue
            try:
                yield waiting.result()
            except StopAsyncIteration:
                return
            waiting = asyncio.ensure_future(anext(source))
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await _close(source)
