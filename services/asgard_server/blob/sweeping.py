"""Removing what uploads leave behind: nothing is removed that a row does not name as ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.blob import domain, metrics
from asgard_server.blob.domain import Blob
from asgard_server.blob.store import Bytes, Table, Upkeep

SECONDS = 60.0
_PAGE = 200
_STAGING = "staging/"


class Sweeper:
    """Gives up uploads whose time is over, and removes bytes that can no longer be added to.

    A URL that was given out may put bytes under its key after the blob has been deleted: so a row
    stays, and its key is removed once more, until the last of its grants has ended.
    """

    def __init__(
        self,
        table: Table,
        upkeep: Upkeep,
        held: Bytes,
        clock: Callable[[], datetime],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._table = table
        self._upkeep = upkeep
        self._bytes = held
        self._clock = clock
        self._seconds = seconds
        self._log = structlog.get_logger("asgard.blob")

    async def run(self) -> None:
        """Sweep until cancelled; of several replicas one does."""
        while True:
            try:
                async for mine in self._upkeep.lock("blob-sweep"):
                    if mine:
                        await self.sweep()
            except AsgardError as error:
                self._log.warning("blobs are not swept", error=str(error))
            await asyncio.sleep(self._seconds)

    async def sweep(self) -> int:
        """Sweep once; answer how many rows went."""
        count = 0
        while overdue := await self._upkeep.overdue(self._clock(), _PAGE):
            ended = [blob.id for blob in overdue if await self._ended(blob)]
            await self._upkeep.forget(ended)
            count += len(ended)
            metrics.SWEPT.inc(len(ended))
            if len(overdue) < _PAGE:
                break
        await self._copies()
        await self._staged()
        return count

    async def _ended(self, blob: Blob) -> bool:
        """End an upload whose time is over; say whether its row can go."""
        if blob.state == "uploading":
            blob = await self._table.settle(blob, domain.moved_to(blob, "abandoned"))
        if blob.state == "ready":  # completed at the last moment
            return False
        await self._bytes.remove(blob)
        return blob.grants_until + domain.MARGIN <= self._clock()

    async def _copies(self) -> None:
        """Copies that have not become their blob: of those who lost, and of those who died."""
        while noted := await self._upkeep.copies(self._clock() - domain.COPYING, _PAGE):
            known = await self._upkeep.known([copy.id for copy in noted])
            for copy in noted:
                blob = known.get(copy.id)
                if blob is None or (blob.state, blob.attempt) != ("ready", copy.attempt):
                    await self._bytes.remove(copy)
            await self._upkeep.forget_copies(noted)

    async def _staged(self) -> None:
        """Bytes that a plain PUT brought after its upload had ended."""
        waiting: dict[str, list[str]] = {}
        async for listed in self._bytes.list(_STAGING):
            blob_id = listed.key.removeprefix(_STAGING).partition("/")[0]
            if listed.age_seconds > domain.MARGIN.total_seconds():
                waiting.setdefault(blob_id, []).append(listed.key)
            if len(waiting) >= _PAGE:
                await self._remove_staged(waiting)
                waiting = {}
        if waiting:
            await self._remove_staged(waiting)

    async def _remove_staged(self, waiting: dict[str, list[str]]) -> None:
        known = await self._upkeep.known(list(waiting))
        for blob_id in waiting:
            blob = known.get(blob_id)
            # Without a row nobody knows whose they are: fsck tells of those.
            if blob is not None and blob.state != "uploading" and blob.way == "plain":
                for key in waiting[blob_id]:
                    await self._bytes.remove(_staged_as(blob, key))


def _staged_as(blob: Blob, key: str) -> Blob:
    return replace(blob, attempt=key.rpartition("/")[2])
