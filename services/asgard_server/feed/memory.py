"""The bell of one process: `Feed` among the tasks of one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgard_server.feed.metrics import BELL_DELAY, BELL_UP
from asgard_server.histograms import Series


class _Listener:
    def __init__(self, delays: Series | None) -> None:
        self.newest = 0
        self.rung = asyncio.Event()
        self._delays = delays
        self._since = 0.0

    # No generator: one of those ends for good when a wait for it is given up.
    def __aiter__(self) -> _Listener:
        return self

    async def __anext__(self) -> int:
        await self.rung.wait()
        self.rung.clear()
        if self._delays is not None:
            self._delays.observe(time.perf_counter() - self._since)
        return self.newest

    def ring(self, revision: int) -> None:
        # Not the greatest: revisions begin again when the log does.
        self.newest = revision
        if self._delays is not None and not self.rung.is_set():
            self._since = time.perf_counter()
        self.rung.set()


class MemoryFeed:
    """Rings whoever listens in this process, at once.

    A listener that is busy finds one ring when it comes back, with the newest revision.
    To be used from one event loop. `measured`: whether it is the bell that metrics tell of.
    """

    def __init__(self, *, measured: bool = True) -> None:
        self._delays = BELL_DELAY.series() if measured else None
        if measured:
            BELL_UP.set(1)
        self._listeners: dict[str, set[_Listener]] = {}

    async def ring(self, topic: str, revision: int) -> None:
        """Say that `topic` has reached `revision`."""
        for listener in self._listeners.get(topic, ()):
            listener.ring(revision)

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[AsyncIterator[int]]:
        """Yield revisions of `topic` rung after entering; coalesced to the newest."""
        listener = _Listener(self._delays)
        listeners = self._listeners.setdefault(topic, set())
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(topic, None)
