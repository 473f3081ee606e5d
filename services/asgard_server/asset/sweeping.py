"""What is cleared away in time: assets that nobody finalized, and the bytes of abandoned ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from gimle.asgard.core.errors import AsgardError, NotFoundError

from asgard_server.asset import domain, metrics
from asgard_server.asset.store import Assets, Turns, Upkeep
from asgard_server.asset.telling import Told
from asgard_server.auth.principal import Principal

SECONDS = 60.0
_PAGE = 100

SWEEPER = Principal("asgard", kind="service")
"""Who gives assets up that nobody finalized, in the audit."""


class Sweeper:
    """Clears away once a minute; of several replicas one does. `remember`: for how long ids that
    were deleted are known as such.
    """

    def __init__(
        self,
        assets: Assets,
        upkeep: Upkeep,
        turns: Turns,
        clock: Callable[[], datetime],
        told: Told,
        *,
        remember: timedelta = timedelta(days=30),
        seconds: float = SECONDS,
    ) -> None:
        self._assets = assets
        self._upkeep = upkeep
        self._turns = turns
        self._clock = clock
        self._told = told
        self._remember = remember
        self._seconds = seconds
        self._log = structlog.get_logger("asgard.asset")

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                async for mine in self._turns.turn("asset-sweep"):
                    if mine:
                        await self.sweep()
            except AsgardError as error:
                self._log.warning("assets are not swept", error=str(error))
            await asyncio.sleep(self._seconds)

    async def sweep(self) -> int:
        """Sweep once; answer how many assets were given up."""
        count = 0
        while overdue := await self._upkeep.overdue(self._clock() - domain.PENDING, _PAGE):
            count += sum([await self._abandoned(asset_id) for asset_id in overdue])
            if len(overdue) < _PAGE:
                break
        if count:
            await self._told()
        now = self._clock()
        while released := await self._upkeep.release(now - domain.KEPT, now, _PAGE):
            metrics.RELEASED.inc(released)
        await self._upkeep.forget(now - self._remember)
        return count

    async def _abandoned(self, asset_id: str) -> bool:
        try:
            done = await self._assets.change(
                *(asset_id, SWEEPER, "write", "asset.expire"),
                lambda now: domain.expired(now, self._clock()),
            )
        except NotFoundError:  # deleted a moment ago
            return False
        if done.state != "abandoned":
            return False
        metrics.ABANDONED.inc()
        return True
