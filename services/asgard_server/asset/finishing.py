"""From components that have arrived to an asset that cannot change, and the review before that.

The order (docs/protocols.md 12): look at what has arrived, claim it, then the row, if it is still
pending. Whoever dies between two of these leaves an asset that is pending, and blobs that are its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from gimle.asgard.core.asset_errors import AssetIncompleteError
from gimle.asgard.core.errors import AsgardError, InvalidFieldError, NotFoundError

from asgard_server.asset import domain, metrics
from asgard_server.asset.domain import Arrived, Asset
from asgard_server.asset.store import Assets, Blobs
from asgard_server.asset.telling import Told
from asgard_server.auth.principal import Principal


class Outcome(NamedTuple):
    """What has become of one asset of many: approved, or why not."""

    asset_id: str
    problem: AsgardError | None = None


class Finisher:
    """Finalizes, approves and rejects. `told` is called after each change."""

    def __init__(
        self, assets: Assets, blobs: Blobs, clock: Callable[[], datetime], told: Told
    ) -> None:
        self._assets = assets
        self._blobs = blobs
        self._clock = clock
        self._told = told

    async def finalize(self, by: Principal, asset_id: str, lease_token: str = "") -> Asset:
        """Make an asset ready. Raises `NotFoundError`, `ForbiddenError`, `AssetStateError`,
        `AssetIncompleteError`, `DigestMismatchError`, `RunLeaseLostError`.
        """
        asset, _ = await self._assets.find(asset_id, by, "write")
        with metrics.finalizing():
            arrived = await self._arrived(by, asset)
            done = await self._assets.change(
                *(asset_id, by, "write", "asset.finalize"),
                lambda now: domain.completed(now, arrived, self._clock()),
                lease_token,
            )
        metrics.FINALIZED.labels("ready" if done.state == "ready" else "awaits_review").inc()
        await self._told()
        return done

    async def approve(self, by: Principal, asset_id: str) -> Asset:
        """Approve an asset, and make it ready. Raises `NotAwaitingReviewError`, and as `finalize`
        does.
        """
        asset, _ = await self._assets.find(asset_id, by, "write")
        domain.require_review(asset)
        arrived = await self._arrived(by, asset)
        done = await self._assets.change(
            *(asset_id, by, "write", "asset.approve"),
            lambda now: domain.approved(now, arrived, self._clock()),
        )
        metrics.REVIEWED.labels("approved").inc()
        await self._told()
        return done

    async def reject(self, by: Principal, asset_id: str, reason: str) -> Asset:
        """Abandon an asset that awaits review. Raises `NotAwaitingReviewError`."""
        if len(reason) > 2_000:
            raise InvalidFieldError("reason", "is too long", "give at most 2,000 characters")
        if "\0" in reason:
            raise InvalidFieldError("reason", "has a zero character", "leave it out")
        done = await self._assets.change(
            *(asset_id, by, "write", "asset.reject"),
            lambda now: domain.rejected(now, reason, self._clock()),
        )
        metrics.REVIEWED.labels("rejected").inc()
        await self._told()
        return done

    async def approve_all(self, by: Principal, ids: Sequence[str]) -> list[Outcome]:
        """Approve many, one after the other; one that fails does not keep the others back."""
        if not 1 <= len(ids) <= domain.BULK:
            mend = f"give 1 to {domain.BULK:,}"
            raise InvalidFieldError("asset_ids", f"holds {len(ids):,}", mend)
        outcomes = []
        for asset_id in ids:
            try:
                await self.approve(by, asset_id)
            except AsgardError as error:
                outcomes.append(Outcome(asset_id, error))
            else:
                outcomes.append(Outcome(asset_id))
        return outcomes

    async def _arrived(self, by: Principal, asset: Asset) -> dict[str, Arrived]:
        """What has arrived and is claimed now; nothing where nothing is to arrive any more."""
        if asset.kind != "components" or asset.state != "pending" or asset.is_whole:
            return {}
        arrived = await self._blobs.complete(asset)
        missing = [each.name for each in asset.components if each.name not in arrived]
        if missing:
            now, _ = await self._assets.find(asset.id, by, "write")
            if now.state != "pending" or now.is_whole:  # meanwhile, by somebody else
                return {}
            raise AssetIncompleteError(asset.id, missing)
        try:
            await self._blobs.claim(asset)
        except NotFoundError as error:  # deleted a moment ago, with its blobs
            raise NotFoundError("asset", asset.id) from error
        return arrived
