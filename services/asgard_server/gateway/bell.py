"""What wakes the streams of /api/updates: at once, or together where events are many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized

# A wake-up costs each client some 15 us of the loop: in a burst of changes a thousand of them
# are woken every 20 ms, and send what has come in one piece.
_PER_CLIENT_S = 20e-6
_LONGEST_S = 0.05


class Bell:
    """Rings for everybody who waits, and calls `on_ring`. `hearers` are those who do, about."""

    def __init__(self, hearers: Sized, on_ring: Callable[[], None]) -> None:
        self._hearers = hearers
        self._on_ring = on_ring
        self._rung = 0.0
        self._ringing: asyncio.TimerHandle | None = None
        self._bell = asyncio.Event()

    async def wait(self) -> None:
        """Wait until it rings."""
        await self._bell.wait()

    def ring(self) -> None:
        """Wake the clients: at once after a pause, together where events are dense."""
        if self._ringing is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._rung + min(_LONGEST_S, _PER_CLIENT_S * len(self._hearers)) - loop.time()
        if wait <= 0:
            self._ring_now()
        else:
            self._ringing = loop.call_later(wait, self._ring_now)

    def _ring_now(self) -> None:
        self._ringing = None
        self._rung = asyncio.get_running_loop().time()
        # Every waiter is woken by `set`, and the next `wait` waits again.
        self._bell.set()
        self._bell.clear()
        self._on_ring()
