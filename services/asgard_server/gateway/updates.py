"""GET /api/updates: one watch of the service, told to every browser (docs/protocols.md 10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import orjson
import structlog
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.gateway.event_stream import (
    KEEP_ALIVE,
    Streams,
    event,
)
from asgard_server.gateway.ring import Entry, Ring

Watch = Callable[[pb.WatchRunsRequest], Any]

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
_KINDS = {
    pb.WatchRunsResponse.Change.KIND_UPDATE: "update",
    pb.WatchRunsResponse.Change.KIND_DELETE: "delete",
}
_OBJECTS = {
    pb.WatchRunsResponse.Change.OBJECT_TYPE_RUN: "run",
    pb.WatchRunsResponse.Change.OBJECT_TYPE_RESULT: "result",
}
# Catch-ups at once: after a restart a thousand browsers come back together.
_CATCH_UPS = 32
# A wake-up costs each client some 15 us of the loop: in a burst of changes a thousand of them
# are woken every 20 ms, and send what has come in one piece.
_PER_CLIENT_S = 20e-6
_LONGEST_S = 0.05
# How long a client waits for a service that is not there, before it is told it is connected.
_PATIENCE_SECONDS = 2.0

_log = structlog.get_logger("asgard.gateway")


class Updates:
    """Keeps one watch open, its events in a ring, and wakes the clients that read it.

    `version` grows with every change that could be seen, also with those that this
    gateway sent on itself: what was computed before is then stale.
    """

    def __init__(self, watch: Watch, streams: Streams) -> None:
        self._watch = watch
        self._streams = streams
        self._bell = asyncio.Event()
        self._rung = 0.0
        self._ringing: asyncio.TimerHandle | None = None
        self._beat = 0
        self._lost = False
        self._catching_up = asyncio.Semaphore(_CATCH_UPS)
        self._token = ""
        self.ring = Ring()
        self.version = 0
        self.connected = False

    def changed(self) -> None:
        """Say that something was changed through this gateway."""
        self.version += 1

    async def run(self) -> None:
        """Follow the service until cancelled; a broken watch goes on where it was."""
        pause = 0.0
        while True:
            if self._token:
                request = pb.WatchRunsRequest(resume_token=self._token)
            else:
                request = pb.WatchRunsRequest(start=pb.WatchRunsRequest.START_NOW)
            replies = self._watch(request)
            try:
                async for reply in replies:
                    pause = 0.0
                    if reply.WhichOneof("event") == "reset":
                        # What follows is a snapshot; clients read for themselves what they
                        # show, so a watch from now on is cheaper, and says as much.
                        self._forget()
                        break
                    self._take(reply)
            except grpc.aio.AioRpcError as error:
                if error.code() in _UNUSABLE:
                    self._forget()
                _log.info("watch_ended", code=error.code().name, detail=error.details())
            finally:
                replies.cancel()
                self.connected = False
            if self._streams.closing:
                return
            if not self._token:
                self._lost = True
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

    def _forget(self) -> None:
        self._token = ""
        self._lost = True
        self.version += 1

    def _take(self, reply: pb.WatchRunsResponse) -> None:
        """Put a message into the ring. The first one after a loss is preceded by a reset."""
        changes = reply.changes
        before = changes[0].revision - 1 if changes else reply.revision
        token = "" if changes else reply.resume_token
        if self._lost:
            self.ring.restart(Entry(before, token, event(_RESET, token)))
            self.version += 1
            self._lost = False
        elif not self._token:
            self.ring.begin(before, token)
        self.connected = True
        self._token = reply.resume_token or self._token
        if changes:
            self.version += 1
        for change in changes:
            self.ring.append(Entry(change.revision, change.resume_token, told(change)))
        self._ring_bell()

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
        """Wait a moment for the first word of the service, which says where now is."""
        if not self._token:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    while not self._token:
                        await self._bell.wait()
        if not self._token:
            # Told that it is connected, this client may miss what comes before the service
            # is there: a reset will say so.
            self._lost = True

    async def events(self, last_event_id: str) -> AsyncIterator[bytes]:
        """Yield one client's stream, from now or behind its last event."""
        await self._begun()
        position = self.ring.position_of(last_event_id) if last_event_id else None
        begins_now = not last_event_id
        # An id here would move the client past what it has not seen yet.
        token = self._token if begins_now else ""
        at = self.ring.end
        yield _RETRY + event(b'{"type":"connected"}', token)
        if begins_now:
            position = at
        elif position is None:
            async for item in self._catch_up(last_event_id):
                if isinstance(item, int):
                    position = item
                else:
                    yield item
            if position is None:
                return  # the service is away: the client comes back with the same id
        beat = self._beat
        while True:
            read = self.ring.read(position)
            if read is None:
                return  # too slow for the ring: it comes back, and is caught up
            text, position = read
            if text:
                yield text
                continue
            if beat != self._beat:
                beat = self._beat
                yield KEEP_ALIVE
                continue
            await self._bell.wait()

    async def _catch_up(self, token: str) -> AsyncIterator[bytes | int]:
        """Yield what the ring does not hold, then the position where the ring goes on.

        Yields no position when the service is away.
        """
        async with self._catching_up:
            replies = self._watch(pb.WatchRunsRequest(resume_token=token))
            try:
                async for reply in replies:
                    if reply.WhichOneof("event") == "reset":
                        break
                    for change in reply.changes:
                        yield told(change)
                    # The ring may hold some of these already: it goes on behind the last.
                    position = self.ring.position_behind(reply.revision)
                    if position is not None:
                        yield position
                        return
                else:
                    return
            except grpc.aio.AioRpcError as error:
                if error.code() not in _UNUSABLE:
                    return
            finally:
                replies.cancel()
        position = self.ring.end
        yield event(_RESET, self._token)
        yield position


def told(change: pb.WatchRunsResponse.Change) -> bytes:
    """Encode a change as the event that browsers get."""
    data = {
        "type": _KINDS.get(change.kind, "update"),
        "object_type": _OBJECTS.get(change.object_type, "run"),
        "object_id": change.object_id,
    }
    if change.object_type == pb.WatchRunsResponse.Change.OBJECT_TYPE_RESULT:
        data["run_id"] = change.run_id
    return event(orjson.dumps(data), change.resume_token)
