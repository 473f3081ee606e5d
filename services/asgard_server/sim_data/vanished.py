"""Ending jobs whose workers have vanished: nobody else would tell their owners."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from gimle.asgard.core.errors import AsgardError, NotFoundError

from asgard_server.sim_data import leases, metrics
from asgard_server.sim_data.domain import Job
from asgard_server.sim_data.store import Jobs, Upkeep

SECONDS = 60.0
_PAGE = 100


class Vanished:
    """Fails jobs that no worker holds any more and that are not to be claimed again."""

    def __init__(
        self,
        jobs: Jobs,
        upkeep: Upkeep,
        clock: Callable[[], datetime],
        told: Callable[[], Awaitable[None]],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._jobs = jobs
        self._upkeep = upkeep
        self._clock = clock
        self._told = told
        self._seconds = seconds
        self._log = structlog.get_logger("asgard.sim_data")

    async def run(self) -> None:
        """Look until cancelled; of several replicas one does."""
        while True:
            try:
                async for mine in self._upkeep.lock("sim-data-vanished"):
                    if mine:
                        await self.look()
            except AsgardError as error:
                self._log.warning("jobs of vanished workers go on", error=str(error))
            await asyncio.sleep(self._seconds)

    async def look(self) -> int:
        """Look once; answer how many have failed."""
        ended = 0
        for job_id in await self._upkeep.left(self._clock() - leases.GRACE, _PAGE):
            ended += await self._end(job_id)
        if ended:
            await self._told()
        return ended

    async def _end(self, job_id: int) -> bool:
        ended = False

        def end(job: Job) -> Job:
            nonlocal ended
            after = leases.given_up(job, self._clock())
            ended = after is not job
            return after

        try:
            await self._jobs.change(job_id, end)
        except NotFoundError:  # deleted meanwhile
            return False
        if ended:
            metrics.ENDED.labels("lost").inc()
            self._log.warning("the workers of a job have vanished", job_id=job_id)
        return ended
