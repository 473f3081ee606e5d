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
_PAGE = 500
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
            ended = [blob for each in overdue if (blob := await self._ended(each)) is not None]
            await self._bytes.remove_all(ended)
            # Of the others a URL may still bring bytes.
            over = [blob.id for blob in ended if self._is_over(blob)]
            await self._upkeep.forget(over)
            count += len(over)
            metrics.SWEPT.inc(len(over))
            if len(overdue) < _PAGE:
                break
        await self._copies()
        await self._staged()
        return count

    async def _ended(self, blob: Blob) -> Blob | None:
        """End an upload whose time is over; None for what was completed at the last moment."""
        if blob.state == "uploading":
            blob = await self._table.settle(blob, domain.moved_to(blob, "abandoned"))
        return None if blob.state == "ready" else blob

    def _is_over(self, blob: Blob) -> bool:
        return blob.grants_until + domain.MARGIN <= self._clock()

    async def _copies(self) -> None:
        """Copies that have not become their blob: of those who lost, and of those who died."""
        while noted := await self._upkeep.copies(self._clock() - domain.COPYING, _PAGE):
            known = await self._upkeep.known([copy.id for copy in noted])
            lost = [copy for copy in noted if not _is_its_blob(copy, known.get(copy.id))]
            await self._bytes.remove_all(lost)
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
        gone: list[Blob] = []
        for blob_id in waiting:
            blob = known.get(blob_id)
            # Without a row nobody knows whose they are: fsck tells of those.
            if blob is not None and blob.state != "uploading" and blob.way == "plain":
                gone += [_staged_as(blob, key) for key in waiting[blob_id]]
        await self._bytes.remove_all(gone)


def _is_its_blob(copy: Blob, blob: Blob | None) -> bool:
    return blob is not None and (blob.state, blob.attempt) == ("ready", copy.attempt)


def _staged_as(blob: Blob, key: str) -> Blob:
    return replace(blob, attempt=key.rpartition("/")[2])
