"""GET /api/updates: the services' change logs, told to every browser (docs/protocols.md 10, 11)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import structlog

from asgard_server.auth.principal import Principal
from asgard_server.gateway.event_stream import KEEP_ALIVE, Streams, event
from asgard_server.gateway.followed import Followed
from asgard_server.gateway.following import RESET, Following
from asgard_server.gateway.listening import Listener
from asgard_server.gateway.resuming import Place, Resuming
from asgard_server.gateway.ring import Ring, Seen

_RETRY = b"retry: 1000\n"
# What a stream says last whose caller is not who they were: what it told is not what they see now.
LAST_WORD = event(RESET)
# How long a client waits for a service that is not there, before it is told it is connected.
_PATIENCE_SECONDS = 2.0

_log = structlog.get_logger("asgard.gateway")


class Updates:
    """The streams of browsers, over the logs that are followed. The first log is that of runs.

    `version` grows with every change of runs that could be seen, also with those that this gateway
    sent on itself: what was computed before is then stale.
    """

    def __init__(self, logs: Sequence[Followed], streams: Streams) -> None:
        self._logs = logs
        self._streams = streams
        self._following = Following(logs, streams)
        self._resuming = Resuming(self._following)
        self._beat = 0
        self._changed = 0

    @property
    def ring(self) -> Ring:
        """The newest events."""
        return self._following.ring

    @property
    def version(self) -> int:
        """What is the same for as long as no run changes."""
        return self._changed + self._following.version

    @property
    def connected(self) -> bool:
        """Whether changes of runs are followed."""
        return self._logs[0].connected

    def changed(self) -> None:
        """Say that something was changed through this gateway."""
        self._changed += 1

    async def run(self) -> None:
        """Follow the services until cancelled; a broken watch goes on where it was."""
        await self._following.run()

    async def beat(self) -> None:
        """Send keep-alive comments, and let go of clients that are stuck, until cancelled."""
        silence = self._streams.keep_alive_seconds
        beaten = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, silence))
            stuck = self._streams.sweep()
            if stuck:
                _log.info("slow_clients_dropped", clients=stuck)
            if time.monotonic() - beaten >= silence:
                beaten = time.monotonic()
                self._beat += 1
                self._following.listeners.wake(everybody=True)
                self._following.bell.ring()

    async def _begun(self) -> None:
        """Wait a moment for the first words of the services, which say where now is.

        Of those but the first a word is that they are away, too.
        """
        if not self._know_where():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    while not self._know_where():
                        await self._following.bell.wait()
        for log in self._logs:
            if not log.token:
                # Told that it is connected, this client may miss what comes before the service
                # is there: a reset will say so.
                log.lost = True

    def _know_where(self) -> bool:
        first, *others = self._logs
        return bool(first.token) and all(log.token or log.tried for log in others)

    async def events(self, last_event_id: str, who: Principal | None) -> AsyncIterator[bytes]:
        """Yield one client's stream, from now or behind its last event.

        `who` None: nobody is asked who they are, and everybody hears of everything.
        """
        listener = Listener(who)
        await self._begun()
        begins_now = not last_event_id
        # An id here would move the client past what it has not seen yet.
        id = self._id(listener) if begins_now and self._logs[0].token else ""
        place: Place | None = Place(self.ring.end, {}, self.ring.restarts)
        yield _RETRY + event(b'{"type":"connected"}', id)
        if not begins_now:
            place = None
            async for item in self._resuming.behind(last_event_id, listener):
                if isinstance(item, bytes):
                    yield item
                else:
                    place = item
        if place is None:
            return  # the service is away: the client comes back with the same id
        try:
            async for text in self._from(place, listener):
                yield text
        finally:
            self._following.listeners.leave(listener)

    async def _from(self, place: Place, listener: Listener) -> AsyncIterator[bytes]:
        """What the ring holds from a place on, and what follows; it ends for who is too slow."""
        position, seen, restarts = place
        beat = self._beat
        while True:
            if seen and self._has_caught_up(position, seen, restarts):
                seen = {}
            if listener.keys is not None or seen:
                read = self.ring.unseen(position, seen, listener.told)
            else:
                read = self.ring.read(position)
            if read is None:
                return  # it comes back, and is caught up
            text, behind = read
            if text:
                yield text
            if behind != position:
                position = behind
                if not text:
                    await asyncio.sleep(0)  # much that is not for its ears
                continue
            if listener.keys is not None and not seen:
                break
            if beat != self._beat:
                beat = self._beat
                yield KEEP_ALIVE
                continue
            await self._following.bell.wait()
        # Nothing is awaited since the end of the ring was seen, so nothing is missed between.
        self._following.listeners.enter(listener)
        async for text in self._due(listener, beat):
            yield text

    async def _due(self, listener: Listener, beat: int) -> AsyncIterator[bytes]:
        """What concerns who has caught up; and from time to time how far everything is."""
        while True:
            listener.woken.clear()
            texts: list[bytes] = []
            while listener.due:
                entry = self.ring.at(listener.due.popleft())
                if entry is None or listener.late:
                    return  # it comes back, and is caught up
                texts.append(listener.told(entry))
            if text := b"".join(texts):
                yield text
            elif beat != self._beat:
                beat = self._beat
                id = self._id(listener) if self._logs[0].token else ""
                # Without data, this is no event: it moves on behind what is not for its ears.
                yield b"id: %b\n%b" % (id.encode(), KEEP_ALIVE) if id else KEEP_ALIVE
            else:
                await listener.woken.wait()

    def _id(self, listener: Listener) -> str:
        return self._following.id() + listener.mark

    def _has_caught_up(self, position: int, seen: Seen, restarts: int) -> bool:
        """Whether a client sees nothing twice that reads on as others do."""
        if restarts != self.ring.restarts:
            return True
        return position >= self.ring.end and self.ring.holds_all_of(seen)
