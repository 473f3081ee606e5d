"""Who may do what with assets, as callers change it: rules of what is asked, then the tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from asgard_server.access.domain import Action, visibility_of
from asgard_server.access.explaining import Explanation, Grant
from asgard_server.asset.access_store import Granted, Move, Sharing
from asgard_server.asset.domain import Asset
from asgard_server.asset.telling import Told
from asgard_server.asset.wishes import required
from asgard_server.auth.principal import Principal


class Sharer:
    """Grants, visibility and owners of assets. `told` is called after each change.

    All but `explain` of oneself needs Administer: `NotFoundError` for everybody else.
    """

    def __init__(self, sharing: Sharing, clock: Callable[[], datetime], told: Told) -> None:
        self._sharing = sharing
        self._clock = clock
        self._told = told

    async def grant(self, by: Principal, asset_id: str, principal: str, action: Action) -> Granted:
        """Grant an action. Raises `InvalidFieldError`, `NotFoundError` of the principal."""
        who = required(principal, "principal_id")
        done = await self._sharing.grant(asset_id, who, action, by, self._clock())
        await self._told()
        return done

    async def share(self, by: Principal, asset_id: str, scope: str, action: Action) -> Granted:
        """Grant an action to a team or an organisation. Raises `NotAMemberError`, too."""
        within = required(scope, "scope_id")
        done = await self._sharing.share(asset_id, within, action, by, self._clock())
        await self._told()
        return done

    async def revoke(self, by: Principal, asset_id: str, principal: str, action: Action) -> bool:
        """Take a grant back; whether it was there. Raises `LastAdministratorError`, too."""
        who = required(principal, "principal_id")
        removed = await self._sharing.revoke(asset_id, who, action, by, self._clock())
        await self._told()
        return removed

    async def grants(self, by: Principal, asset_id: str) -> list[Grant]:
        """Who may do what, and where it comes from."""
        return await self._sharing.grants(asset_id, by)

    async def explain(self, by: Principal, asset_id: str, principal: str) -> Explanation:
        """Why somebody may do something with it; the caller, for an empty text."""
        return await self._sharing.explain(asset_id, principal, by)

    async def set_visibility(self, by: Principal, asset_id: str, visibility: str) -> Asset:
        """Let others read it. Raises `InvalidFieldError`."""
        wanted = visibility_of(visibility)
        asset = await self._sharing.set_visibility(asset_id, wanted, by, self._clock())
        await self._told()
        return asset

    async def move(
        self, by: Principal, asset_id: str, organization: str, team: str, visibility: str
    ) -> Asset:
        """Give it to an organisation, whose members may read it unless something else is said.

        Raises `InvalidFieldError`, `NotAMemberError`, `AssetStateError`, `NotFoundError` of the
        organisation or team.
        """
        within = required(organization, "organization_id")
        to = Move(within, team, visibility_of(visibility, "org_public"))
        asset = await self._sharing.move(asset_id, to, by, self._clock())
        await self._told()
        return asset
