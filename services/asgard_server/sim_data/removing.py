"""Removing what deleted jobs leave behind; an interrupted delete is finished here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.sim_data import domain
from asgard_server.sim_data.domain import Job
from asgard_server.sim_data.store import Artifacts, Log, Upkeep

SECONDS = 60.0
_PAGE = 100


class Remover:
    """Removes the files of deleted jobs, and their rows when no URL can bring more of them.

    An upload URL that was given out may bring a file after the job has been deleted: so the row
    stays until the last of them has ended, and the files are removed once more. It stays `remember`
    at least: for so long those who had the job can be told that it is gone.
    """

    def __init__(
        self,
        upkeep: Upkeep,
        log: Log,
        artifacts: Artifacts | None,
        clock: Callable[[], datetime],
        *,
        changes_kept: int,
        remember: timedelta,
        seconds: float = SECONDS,
    ) -> None:
        self._upkeep = upkeep
        self._log = log
        self._artifacts = artifacts
        self._clock = clock
        self._changes_kept = changes_kept
        self._remember = remember
        self._seconds = seconds
        self._told = structlog.get_logger("asgard.sim_data")

    async def run(self) -> None:
        """Sweep until cancelled; of several replicas one does."""
        while True:
            try:
                async for mine in self._upkeep.lock("sim-data-sweep"):
                    if mine:
                        await self.sweep()
            except AsgardError as error:
                self._told.warning("deleted jobs are not removed", error=str(error))
            await asyncio.sleep(self._seconds)

    async def sweep(self) -> None:
        """Sweep once."""
        now = self._clock()
        for job in await self._upkeep.deleted(now - domain.MARGIN, now - self._remember, _PAGE):
            await self.remove(job)
        if (await self._log.head())[1] > self._changes_kept:
            await self._log.trim(self._changes_kept)

    async def remove(self, job: Job) -> None:
        """Remove the files of a deleted job, then note that, or remove its row.

        Raises `StorageUnavailableError`.
        """
        if self._artifacts is not None:
            await self._artifacts.remove(job.id)
        elif job.grants_until is not None:
            return  # its files are in a store that is switched off: they are removed when it is on
        now = self._clock()
        settled = domain.settled(job, now)
        assert job.deleted_at is not None  # noqa: S101 - it is a deleted job
        if settled and job.deleted_at + self._remember <= now:
            await self._upkeep.forget(job.id)
        elif settled or not job.emptied:
            until = None if settled else job.grants_until
            await self._upkeep.mark(
                job.id, lambda job: replace(job, emptied=True, grants_until=until)
            )
