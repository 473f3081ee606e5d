"""Lists of assets, the queue of what awaits review, versions and their aliases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from asgard_server.asset.domain import Asset
from asgard_server.asset.store import AliasMove, Assets, Filter, Position, Versions
from asgard_server.asset.telling import Told
from asgard_server.auth.principal import Principal

# Moves of aliases that are told of.
_MOVES = 100


class Lists:
    """Assets side by side. `told` is called after each change of an alias."""

    def __init__(
        self, assets: Assets, versions: Versions, clock: Callable[[], datetime], told: Told
    ) -> None:
        self._assets = assets
        self._versions = versions
        self._clock = clock
        self._told = told

    async def page(
        self, by: Principal, wanted: Filter, behind: Position | None, limit: int
    ) -> list[Asset]:
        """What the caller may read, newest first."""
        return await self._assets.page(by, wanted, behind, limit)

    async def queue(self, by: Principal, behind: Position | None, limit: int) -> list[Asset]:
        """What awaits review and may be approved by the caller, oldest first."""
        return await self._assets.awaiting_review(by, behind, limit)

    async def versions(
        self, by: Principal, asset_id: str, below: int | None, limit: int
    ) -> list[Asset]:
        """Versions of an asset's name, newest first, those below a number."""
        return await self._versions.versions(asset_id, by, below, limit)

    async def moves(self, by: Principal, asset_id: str) -> list[AliasMove]:
        """How aliases of its name moved, newest first."""
        return await self._versions.moves(asset_id, by, _MOVES)

    async def point(self, by: Principal, asset_id: str, alias: str) -> Asset:
        """Let an alias point at an asset. Raises `AssetStateError`, `InvalidFieldError`."""
        asset = await self._versions.point(asset_id, alias, by, self._clock())
        await self._told()
        return asset

    async def unpoint(self, by: Principal, asset_id: str, alias: str) -> bool:
        """Remove an alias that points at an asset; whether it was there."""
        removed = await self._versions.unpoint(asset_id, alias, by, self._clock())
        await self._told()
        return removed
