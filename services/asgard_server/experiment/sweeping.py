"""Ends runs whose worker has been silent for longer than its lease (docs/protocols.md 17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog
from gimle.asgard.core.errors import AsgardError, NotFoundError

from asgard_server.auth.principal import Principal
from asgard_server.experiment import metrics
from asgard_server.experiment.store import Rows, Shelf
from asgard_server.experiment.working import Place, lose

SECONDS = 1.0
_SHORTEST = 0.05
_PAGE = 100

SWEEPER = Principal("asgard", kind="service")
"""Who ends runs that were lost, in the audit."""


class Turns(Protocol):
    """Of several replicas one does what is to be done once."""

    def turn(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""


class LeaseSweeper:
    """Looks when the next lease ends, at least once a second; of several replicas one does.

    Another takes over when that one is gone: nothing is remembered between two looks.
    """

    def __init__(
        self,
        shelf: Shelf,
        turns: Turns,
        clock: Callable[[], datetime],
        told: Callable[[], Awaitable[None]],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._shelf = shelf
        self._turns = turns
        self._clock = clock
        self._told = told
        self._seconds = seconds
        self._log = structlog.get_logger("asgard.experiment")

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                async for mine in self._turns.turn("variation-leases"):
                    if mine:
                        await self.sweep()
                pause = await self._until_next()
            except AsgardError as error:
                self._log.warning("leases are not looked at", error=str(error))
                pause = self._seconds
            await asyncio.sleep(pause)

    async def sweep(self) -> int:
        """End what is lost; answer how many runs that were."""
        count = 0
        while overdue := await self._shelf.look(self._overdue):
            ended = sum([await self._lost(place) for place in overdue])
            count += ended
            if not ended:
                break
        if count:
            metrics.ENDED.labels("failed_lost").inc(count)
            await self._told()
        return count

    async def _overdue(self, rows: Rows) -> list[Place]:
        return [Place(*each) for each in await rows.runs.overdue(self._clock(), _PAGE)]

    async def _lost(self, place: Place) -> bool:
        async def end(rows: Rows) -> bool:
            return await lose(rows, place, SWEEPER, self._clock()) is not None

        try:
            ended = await self._shelf.change(end)
        except NotFoundError:  # deleted a moment ago
            return False
        if ended:
            self._log.warning(
                "a run was lost",
                experiment=place.experiment_id,
                variation=place.variation,
                run=place.run,
            )
        return ended

    async def _until_next(self) -> float:
        async def look(rows: Rows) -> datetime | None:
            return await rows.runs.next_lease()

        ends = await self._shelf.look(look)
        if ends is None:
            return self._seconds
        left = (ends - self._clock()).total_seconds()
        return min(max(left, _SHORTEST), self._seconds)
