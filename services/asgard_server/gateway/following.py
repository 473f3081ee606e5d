"""Following the services' change logs: what they tell goes into the ring, and to who listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
import orjson
import structlog

from asgard_server.gateway.bell import Bell
from asgard_server.gateway.event_stream import Streams, event
from asgard_server.gateway.followed import Followed
from asgard_server.gateway.listening import Listeners
from asgard_server.gateway.ring import Entry, Ring

# Codes that say that a token will never be good again.
UNUSABLE = frozenset(
    {
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
RESET = orjson.dumps({"type": "reset"})
# An event's id is a position in each log: their tokens in the order of the logs.
BETWEEN = "."

# A service that is away is asked again so much later, at most: one that restarts, one that has been
# away for a minute and may not be there at all (not that of runs), and one that does not know the
# method. Whoever comes from a gateway that has gone on meanwhile is told to begin anew.
_RESTARTING_SECONDS = 1.0
_AWAY_SECONDS = 5.0
_LONG_SECONDS = 60.0
_UNKNOWN_SECONDS = 30.0
_FIRST_SECONDS = 0.05

_log = structlog.get_logger("asgard.gateway")


class Following:
    """Keeps a watch of each log open. The first log is that of runs.

    `version` grows with every change of runs that could be seen.
    """

    def __init__(self, logs: Sequence[Followed], streams: Streams) -> None:
        self.logs = logs
        self.ring = Ring()
        self.listeners = Listeners()
        self.bell = Bell(streams, self.listeners.wake)
        self.version = 0
        self._streams = streams

    def id(self, log: Followed | None = None, token: str = "") -> str:
        """The position of who has seen everything, and of one log up to `token`."""
        return BETWEEN.join(token if each is log else each.token for each in self.logs)

    async def run(self) -> None:
        """Follow the services until cancelled; a broken watch goes on where it was."""
        async with asyncio.TaskGroup() as group:
            for log in self.logs:
                group.create_task(self._follow(log))

    async def _follow(self, log: Followed) -> None:
        pause, away, since = 0.0, False, time.monotonic()
        while True:
            code = None
            replies = log.replies(log.token)
            try:
                async for reply in replies:
                    if away:
                        _log.info("watch_resumed", log=log.name)
                    pause, away = 0.0, False
                    if reply.WhichOneof("event") == "reset":
                        # What follows is a snapshot; clients read for themselves what they
                        # show, so a watch from now on is cheaper, and says as much.
                        self._forget(log)
                        break
                    self._take(log, reply)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code in UNUSABLE:
                    self._forget(log)
            finally:
                replies.cancel()
                log.connected = False
                log.tried = True
            self.bell.ring()
            if self._streams.closing:
                return
            if code is not None and not away:
                # Said once, however long it stays away.
                _log.info("watch_ended", log=log.name, code=code.name)
                away, since = True, time.monotonic()
            if not log.token:
                log.lost = True
            unknown = code is grpc.StatusCode.UNIMPLEMENTED
            await asyncio.sleep(_UNKNOWN_SECONDS if unknown else pause)
            long = log is not self.logs[0] and time.monotonic() - since > _LONG_SECONDS
            pause = min(_AWAY_SECONDS if long else _RESTARTING_SECONDS, pause * 2 or _FIRST_SECONDS)

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
            self._restart(log, before, token)
        elif not log.token:
            self.ring.begin(before, token, log.number)
        log.connected = log.tried = True
        if changes and log is self.logs[0]:
            self.version += 1
        for change in changes:
            self._put(log, change)
        log.token = reply.resume_token or log.token
        self.bell.ring()

    def _restart(self, log: Followed, before: int, token: str) -> None:
        id = self.id(log, token) if token else ""
        self.listeners.restart(self.ring.end)
        self.ring.restart(Entry(before, token, event(RESET, id), log.number, id, RESET))
        self.version += 1
        log.lost = False

    def _put(self, log: Followed, change: Any) -> None:
        entry = entry_of(log, change, self.id(log, change.resume_token))
        self.listeners.address(self.ring.end, entry.readers)
        self.ring.append(entry)


def entry_of(log: Followed, change: Any, id: str) -> Entry:
    """A change as an event, encoded once for all who may see everything."""
    told = log.told(change)
    text = event(told.data, id)
    return Entry(change.revision, change.resume_token, text, log.number, id, *told)
