"""The one way in which a change becomes known: observe it, then ring the bell."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from gimle.asgard.core.errors import StorageFullError

from asgard_server.feed.feed import Feed
from asgard_server.run.store import Key, ResultRow, RunIndex

TOPIC = "runs"
# Deletes that are observed late, in one transaction: the less it takes, the sooner there is room.
_LATE_AT_ONCE = 64

log = structlog.get_logger()


class Observer:
    """Brings the index up to date with documents and tells whoever watches.

    Called by everybody who has written a document, or learns that somebody has.
    """

    def __init__(self, index: RunIndex, feed: Feed) -> None:
        self._index = index
        self._feed = feed
        self._head = ("", 0)
        self._late: dict[Key, None] = {}

    async def observe(self, *keys: Key) -> int:
        """Index and log `keys` as their documents now are; answer the head revision.

        Raises `StorageUnavailableError` when the place is gone; nothing has changed then.
        """
        revision = await self._index.observe(keys)
        await self.ring(revision)
        return revision

    async def deleted(self, *keys: Key) -> None:
        """Observe what has just been deleted: now, or when the index has room for it.

        A delete makes room, and whoever saves at that moment takes it. The documents are gone
        all the same, which is what was asked for: that the index says so late fails nobody.
        Raises `StorageUnavailableError`.
        """
        try:
            await self.observe(*keys)
        except StorageFullError as error:
            log.warning("a delete is indexed when there is room", problem=str(error))
            self._late.update(dict.fromkeys(keys))

    async def take_in(self, keys: Sequence[Key], result: Key) -> ResultRow | None:
        """Observe, and answer the row of one of the results as well, None when it is gone."""
        revision, row = await self._index.take_in(keys, result)
        await self.ring(revision)
        return row

    async def ring(self, revision: int) -> None:
        """Tell that the log has reached `revision`, where it was observed otherwise."""
        # Rung even if nothing was logged here: another process may have been faster.
        await self._feed.ring(TOPIC, revision)

    async def look(self) -> None:
        """Observe deletes that there was no room for, and ring if the head has moved since.

        Another process may have logged. Raises `StorageFullError` while there still is no room.
        """
        while late := list(self._late)[:_LATE_AT_ONCE]:
            await self.observe(*late)
            for key in late:
                self._late.pop(key, None)
        head = await self._index.head()
        if head != self._head:
            self._head = head
            await self._feed.ring(TOPIC, head[1])
