"""GET /api/updates: a watch of each service, told to every browser (docs/protocols.md 10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import grpc
import orjson
import structlog

from asgard_server.gateway.event_stream import (
    KEEP_ALIVE,
    Streams,
    event,
)
from asgard_server.gateway.followed import Followed
from asgard_server.gateway.ring import Entry, Ring, Seen

# Codes that say that a token will never be good again.
_UNUSABLE = frozenset(
    {
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
_RESET = orjson.dumps({"type": "reset"})
_RETRY = b"retry: 1000\n"
# An event's id is a position in each log: their tokens in the order of the logs.
_BETWEEN = "."
# Catch-ups at once: after a restart a thousand browsers come back together.
_CATCH_UPS = 32
# A wake-up costs each client some 15 us of the loop: in a burst of changes a thousand of them
# are woken every 20 ms, and send what has come in one piece.
_PER_CLIENT_S = 20e-6
_LONGEST_S = 0.05
# How long a client waits for a service that is not there, before it is told it is connected.
_PATIENCE_SECONDS = 2.0
# Instead of a revision: the service cannot be asked now.
_AWAY = -1

# A service that does not know the method is asked again this much later.
_UNKNOWN_SECONDS = 30.0

_log = structlog.get_logger("asgard.gateway")


class Updates:
    """Keeps a watch of each log open, their events in a ring, and wakes the clients that read it.

    The first log is that of runs. `version` grows with every change of runs that could be seen,
    also with those that this gateway sent on itself: what was computed before is then stale.
    """

    def __init__(self, logs: Sequence[Followed], streams: Streams) -> None:
        self._logs = logs
        self._streams = streams
        self._bell = asyncio.Event()
        self._rung = 0.0
        self._ringing: asyncio.TimerHandle | None = None
        self._beat = 0
        self._catching_up = asyncio.Semaphore(_CATCH_UPS)
        self.ring = Ring()
        self.version = 0

    @property
    def connected(self) -> bool:
        """Whether changes of runs are followed."""
        return self._logs[0].connected

    def changed(self) -> None:
        """Say that something was changed through this gateway."""
        self.version += 1

    async def run(self) -> None:
        """Follow the services until cancelled; a broken watch goes on where it was."""
        async with asyncio.TaskGroup() as group:
            for log in self._logs:
                group.create_task(self._follow(log))

    async def _follow(self, log: Followed) -> None:
        pause = 0.0
        while True:
            replies = log.replies(log.token)
            try:
                async for reply in replies:
                    pause = 0.0
                    if reply.WhichOneof("event") == "reset":
                        # What follows is a snapshot; clients read for themselves what they
                        # show, so a watch from now on is cheaper, and says as much.
                        self._forget(log)
                        break
                    self._take(log, reply)
            except grpc.aio.AioRpcError as error:
                if error.code() in _UNUSABLE:
                    self._forget(log)
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    pause = _UNKNOWN_SECONDS
                _log.info("watch_ended", log=log.name, code=error.code().name)
            finally:
                replies.cancel()
                log.connected = False
                log.tried = True
            self._ring_bell()
            if self._streams.closing:
                return
            if not log.token:
                log.lost = True
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2 or 0.05)

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
                self._ring_bell()

    def _forget(self, log: Followed) -> None:
        log.token = ""
        log.lost = True
        self.version += 1

    def _take(self, log: Followed, reply: Any) -> None:
        """Put a message into the ring. The first one after a loss is preceded by a reset."""
        changes = reply.changes
        before = changes[0].revision - 1 if changes else reply.revision
        token = "" if changes else reply.resume_token
        if log.lost:
            text = event(_RESET, self._id(log, token) if token else "")
            self.ring.restart(Entry(before, token, text, log.number))
            self.version += 1
            log.lost = False
        elif not log.token:
            self.ring.begin(before, token, log.number)
        log.connected = log.tried = True
        if changes and log is self._logs[0]:
            self.version += 1
        for change in changes:
            told = event(orjson.dumps(log.told(change)), self._id(log, change.resume_token))
            self.ring.append(Entry(change.revision, change.resume_token, told, log.number))
        log.token = reply.resume_token or log.token
        self._ring_bell()

    def _id(self, log: Followed | None = None, token: str = "") -> str:
        """The position of who has seen everything, and of one log up to `token`."""
        return _BETWEEN.join(token if each is log else each.token for each in self._logs)

    def _ring_bell(self) -> None:
        """Wake the clients: at once after a pause, together where events are dense."""
        if self._ringing is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._rung + min(_LONGEST_S, _PER_CLIENT_S * len(self._streams)) - loop.time()
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

    async def _begun(self) -> None:
        """Wait a moment for the first words of the services, which say where now is.

        Of those but the first a word is that they are away, too.
        """
        if not self._know_where():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    while not self._know_where():
                        await self._bell.wait()
        for log in self._logs:
            if not log.token:
                # Told that it is connected, this client may miss what comes before the service
                # is there: a reset will say so.
                log.lost = True

    def _know_where(self) -> bool:
        first, *others = self._logs
        return bool(first.token) and all(log.token or log.tried for log in others)

    async def events(self, last_event_id: str) -> AsyncIterator[bytes]:
        """Yield one client's stream, from now or behind its last event."""
        await self._begun()
        begins_now = not last_event_id
        # An id here would move the client past what it has not seen yet.
        token = self._id() if begins_now and self._logs[0].token else ""
        position: int | None = self.ring.end
        seen: Seen = {}
        restarts = self.ring.restarts
        yield _RETRY + event(b'{"type":"connected"}', token)
        if not begins_now:
            position = None
            async for item in self._behind(last_event_id):
                if isinstance(item, bytes):
                    yield item
                else:
                    position, seen, restarts = item
        if position is None:
            return  # the service is away: the client comes back with the same id
        beat = self._beat
        while True:
            if seen and self._has_caught_up(position, seen, restarts):
                seen = {}
            read = self.ring.unseen(position, seen) if seen else self.ring.read(position)
            if read is None:
                return  # too slow for the ring: it comes back, and is caught up
            text, behind = read
            if text:
                yield text
            if behind != position:
                position = behind
                continue
            if beat != self._beat:
                beat = self._beat
                yield KEEP_ALIVE
                continue
            await self._bell.wait()

    def _has_caught_up(self, position: int, seen: Seen, restarts: int) -> bool:
        """Whether a client sees nothing twice that reads on as others do."""
        if restarts != self.ring.restarts:
            return True
        return position >= self.ring.end and self.ring.holds_all_of(seen)

    async def _behind(self, last_event_id: str) -> AsyncIterator[bytes | tuple[int, Seen, int]]:
        """Yield what the ring does not hold, then where in it, with what has been seen, to go on.

        Yields no such place when the service is away.
        """
        parts = self._parts(last_event_id)
        seen: dict[int, int] = {}
        for log in self._logs if parts is not None else ():
            assert parts is not None  # noqa: S101 - else there is no log to look at
            part = parts[log.number]
            if part is None:
                parts[log.number] = log.token
                continue
            revision = self.ring.revision_of(part, log.number)
            if revision is None or self.ring.position_behind({log.number: revision}) is None:
                async for item in self._catch_up(log, parts):
                    if isinstance(item, bytes):
                        yield item
                    else:
                        revision = item
                if revision == _AWAY:
                    return
            if revision is None:
                parts = None
                break
            seen[log.number] = revision
        if parts is not None:
            restarts = self.ring.restarts
            position = self.ring.position_behind(seen)
            if position is not None:
                yield position, seen, restarts
            return
        position = self.ring.end
        yield event(_RESET, self._id())
        yield position, {}, self.ring.restarts

    def _parts(self, last_event_id: str) -> list[str | None] | None:
        """The position in each log that an id names; None for an id that is of no use.

        None for one log: the id is of before this log was followed, which then begins now.
        """
        parts: list[str | None] = list(last_event_id.split(_BETWEEN))
        if len(parts) == 1:
            return [*parts, *([None] * (len(self._logs) - 1))]
        if len(parts) != len(self._logs):
            return None
        # A log that was away when the id was made, and still is.
        return [
            None if not part and not log.token else part
            for part, log in zip(parts, self._logs, strict=True)
        ]

    async def _catch_up(
        self, log: Followed, parts: list[str | None]
    ) -> AsyncIterator[bytes | int | None]:
        """Yield what a log has behind its part of an id, then the revision where the ring goes on.

        The last is None for a part that is of no use any more, and `_AWAY` when the service is.
        """
        async with self._catching_up:
            replies = log.replies(parts[log.number] or "-")
            try:
                async for reply in replies:
                    if reply.WhichOneof("event") == "reset":
                        yield None
                        return
                    for change in reply.changes:
                        parts[log.number] = change.resume_token
                        told = orjson.dumps(log.told(change))
                        yield event(told, _BETWEEN.join(part or "" for part in parts))
                    # The ring may hold some of these already: those are left out there.
                    if self.ring.position_behind({log.number: reply.revision}) is not None:
                        parts[log.number] = reply.resume_token or parts[log.number]
                        yield reply.revision
                        return
            except grpc.aio.AioRpcError as error:
                # Without the first log nothing can be told. Of another it is said that some
                # was missed: its service may be away for long.
                if error.code() not in _UNUSABLE and log is self._logs[0]:
                    yield _AWAY
                    return
            finally:
                replies.cancel()
            yield None
