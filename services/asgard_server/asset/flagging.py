"""What is said against assets, as callers say it and take it back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import get_args

from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.asset.access_store import FlagEntry, FlagName, Flags
from asgard_server.asset.domain import Asset
from asgard_server.asset.telling import Told
from asgard_server.auth.principal import Principal

_FLAGS: tuple[FlagName, ...] = get_args(FlagName)
_REASON_CHARACTERS = 10_000


class Flagger:
    """Flags of assets. `told` is called after each change. Raises `InvalidFieldError`, too."""

    def __init__(self, flags: Flags, clock: Callable[[], datetime], told: Told) -> None:
        self._flags = flags
        self._clock = clock
        self._told = told

    async def deprecate(self, by: Principal, asset_id: str, reason: str) -> Asset:
        """Warn of an asset. Raises `NotFoundError`, `ForbiddenError`."""
        return await self._set(by, asset_id, "deprecated", reason)

    async def invalidate(self, by: Principal, asset_id: str, reason: str) -> Asset:
        """Block an asset as a new input. Raises `NotFoundError`, `ForbiddenError`."""
        return await self._set(by, asset_id, "invalidated", reason)

    async def reinstate(self, by: Principal, asset_id: str, flag: str, reason: str) -> Asset:
        """Take one flag back, or both. Raises `NotFoundError`, `ForbiddenError`."""
        chosen = [each for each in _FLAGS if flag in ("", each)]
        if not chosen:
            raise InvalidFieldError(
                "flag", f"is {flag[:80]!r}", f"give {' or '.join(_FLAGS)}, or leave it out"
            )
        why = reason_of(reason)
        asset = await self._flags.clear(asset_id, chosen, why, by, self._clock())
        await self._told()
        return asset

    async def history(
        self, by: Principal, asset_id: str, below: int | None, limit: int
    ) -> list[FlagEntry]:
        """What was said against it and taken back. Raises `NotFoundError`."""
        return await self._flags.history(asset_id, by, below, limit)

    async def _set(self, by: Principal, asset_id: str, flag: FlagName, reason: str) -> Asset:
        asset = await self._flags.set(asset_id, flag, reason_of(reason), by, self._clock())
        await self._told()
        return asset


def reason_of(text: str) -> str:
    """Answer a reason that people will read. Raises `InvalidFieldError`."""
    reason = text.strip()
    if not reason:
        raise InvalidFieldError("reason", "is missing", "say why, for those who find it linked")
    if len(reason) > _REASON_CHARACTERS:
        mend = f"give at most {_REASON_CHARACTERS:,}"
        raise InvalidFieldError("reason", f"has {len(reason):,} characters", mend)
    if "\x00" in reason:
        raise InvalidFieldError("reason", "has a zero character", "leave it out")
    return reason
