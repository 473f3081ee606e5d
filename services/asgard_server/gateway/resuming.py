"""Going on behind a client's last event: from the ring, else by a watch that hands over to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import grpc

from asgard_server.gateway.event_stream import event
from asgard_server.gateway.followed import Followed
from asgard_server.gateway.following import BETWEEN, RESET, UNUSABLE, Following, entry_of
from asgard_server.gateway.listening import MARKS, Listener
from asgard_server.gateway.ring import Seen

# Catch-ups at once: after a restart a thousand browsers come back together.
_CATCH_UPS = 32
# Instead of a revision: the service cannot be asked now.
_AWAY = -1
# Ids named so many logs when they did not say yet to whom they were told.
_UNMARKED_LOGS = 2


class Place(NamedTuple):
    """Where in the ring to go on, with what has been seen of each log."""

    position: int
    seen: Seen
    restarts: int


class Resuming:
    """Brings clients that come back to a place in the ring."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._catching_up = asyncio.Semaphore(_CATCH_UPS)

    async def behind(self, last_event_id: str, listener: Listener) -> AsyncIterator[bytes | Place]:
        """Yield what the ring does not hold, then the place where to go on.

        Yields no such place when the service is away.
        """
        ring = self._following.ring
        parts = self._parts(last_event_id, listener)
        seen: dict[int, int] = {}
        for log in self._following.logs if parts is not None else ():
            assert parts is not None  # noqa: S101 - else there is no log to look at
            part = parts[log.number]
            if part is None:
                parts[log.number] = log.token
                continue
            revision = ring.revision_of(part, log.number)
            if revision is None or ring.position_behind({log.number: revision}) is None:
                async for item in self._catch_up(log, parts, listener):
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
            restarts = ring.restarts
            position = ring.position_behind(seen)
            if position is not None:
                yield Place(position, seen, restarts)
            return
        here = Place(ring.end, {}, ring.restarts)
        yield event(RESET, self._following.id() + listener.mark)
        yield here

    def _parts(self, last_event_id: str, listener: Listener) -> list[str | None] | None:
        """The position in each log that an id names; None for an id that is of no use.

        None for one log: the id is of before this log was followed, which then begins now.
        """
        logs = self._following.logs
        told, marked, mark = last_event_id.partition(MARKS)
        parts: list[str | None] = list(told.split(BETWEEN))
        if len(parts) > len(logs):
            return None
        # What others were told of, or the caller with other organisations or teams, is not what
        # this one has missed.
        if marked + mark != listener.mark and (marked or len(parts) > _UNMARKED_LOGS):
            return None
        parts += [None] * (len(logs) - len(parts))
        # A log that was away when the id was made, and still is.
        return [
            None if not part and not log.token else part
            for part, log in zip(parts, logs, strict=True)
        ]

    async def _catch_up(
        self, log: Followed, parts: list[str | None], listener: Listener
    ) -> AsyncIterator[bytes | int | None]:
        """Yield what a log has behind its part of an id, then the revision where the ring goes on.

        The last is None for a part that is of no use any more, and `_AWAY` when the service is.
        """
        ring = self._following.ring
        async with self._catching_up:
            replies = log.replies(parts[log.number] or "-")
            try:
                async for reply in replies:
                    if reply.WhichOneof("event") == "reset":
                        yield None
                        return
                    for change in reply.changes:
                        parts[log.number] = change.resume_token
                        id = BETWEEN.join(part or "" for part in parts)
                        if text := listener.told(entry_of(log, change, id)):
                            yield text
                    # The ring may hold some of these already: those are left out there.
                    if ring.position_behind({log.number: reply.revision}) is not None:
                        parts[log.number] = reply.resume_token or parts[log.number]
                        yield reply.revision
                        return
            except grpc.aio.AioRpcError as error:
                # Without the first log nothing can be told. Of another it is said that some
                # was missed: its service may be away for long.
                if error.code() not in UNUSABLE and log is self._following.logs[0]:
                    yield _AWAY
                    return
            finally:
                replies.cancel()
            yield None
