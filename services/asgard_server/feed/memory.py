"""The bell of one process: `Feed` among the tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Listener:
    def __init__(self) -> None:
        self.newest = 0
        self.rung = asyncio.Event()

    # No generator: one of those ends for good when a wait for it is given up.
    def __aiter__(self) -> _Listener:
        return self

    async def __anext__(self) -> int:
        await self.rung.wait()
        self.rung.clear()
        return self.newest


class MemoryFeed:
    """Rings whoever listens in this process, at once.

    A listener that is busy finds one ring when it comes back, with the newest revision.
    To be used from one event loop.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, set[_Listener]] = {}

    async def ring(self, topic: str, revision: int) -> None:
        """Say that `topic` has reached `revision`."""
        for listener in self._listeners.get(topic, ()):
            # Not the greatest: revisions begin again when the log does.
            listener.newest = revision
            listener.rung.set()

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[AsyncIterator[int]]:
        """Yield revisions of `topic` rung after entering; coalesced to the newest."""
        listener = _Listener()
        listeners = self._listeners.setdefault(topic, set())
        listeners.add(listener)
        try:
            yield listener
        finally:
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(topic, None)
