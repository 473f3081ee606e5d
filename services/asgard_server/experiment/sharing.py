"""Who may do what with an experiment, as people change it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from asgard_server.access.domain import Action, Owner, Visibility, visibility_of
from asgard_server.auth.principal import Principal
from asgard_server.experiment import documents, domain
from asgard_server.experiment.access_store import Granted
from asgard_server.experiment.changing import Changing
from asgard_server.experiment.domain import Experiment
from asgard_server.experiment.seeing import Seen, held, seen
from asgard_server.experiment.store import Rows, Told

T = TypeVar("T")


class Sharer(Changing):
    """Grants, visibility and owners of experiments. `told` is called after each change.

    All methods raise `NotFoundError` and `ForbiddenError` as access.require does.
    """

    async def move(
        self, id: str, organization: str, team: str, visibility: str, by: Principal
    ) -> Seen:
        """Give it to an organisation. Raises `NotAMemberError`, `ExperimentStateError`."""
        now = self._clock()

        async def move(rows: Rows) -> Seen:
            before = await held(rows, id, by, "administer")
            owner = await rows.access.owner(organization, team, by)
            shown = visibility_of(visibility, "org_public")
            after = domain.moved_to(before, owner.organization_id or "", owner.team_id, shown, now)
            if after == before:
                return await seen(rows, before, by)
            details = {"organization_id": after.organization_id, "team_id": after.team_id}
            return await _shown(
                rows, after, shown, Told("experiment.move", after, by, now, details)
            )

        return await self._change(move)

    async def set_visibility(self, id: str, visibility: str, by: Principal) -> Seen:
        """Say who may read it without a grant of their own. Raises `InvalidFieldError`."""
        now, shown = self._clock(), visibility_of(visibility)

        async def show(rows: Rows) -> Seen:
            before = await held(rows, id, by, "administer")
            if before.visibility == shown:
                return await seen(rows, before, by)
            after = replace(before, visibility=shown, updated_at=now)
            told = Told("experiment.visibility", after, by, now, {"visibility": shown})
            return await _shown(rows, after, shown, told)

        return await self._change(show)

    async def grant(
        self, id: str, principal: str, action: Action, by: Principal
    ) -> tuple[Granted, bool]:
        """Grant an action; answer the grant, and whether it is new."""
        now = self._clock()

        async def grant(rows: Rows) -> tuple[Granted, bool]:
            found = await held(rows, id, by, "administer")
            whom = await rows.access.principal(principal)
            added = await rows.access.grant(id, whom, action, by, now)
            if added:
                await rows.access.settle(id, now)
                await documents.owned(rows, found, now)
                details = {"principal": whom, "action": action}
                await rows.record(Told("experiment.grant", found, by, now, details))
            there = next(
                each
                for each in await rows.access.grants(id)
                if (each.principal, each.action, each.source) == (whom, action, "own")
            )
            return there, added

        return await self._change(grant)

    async def revoke(self, id: str, principal: str, action: Action, by: Principal) -> bool:
        """Take a grant back; answer whether it was there. Raises `LastAdministratorError`."""
        now = self._clock()

        async def revoke(rows: Rows) -> bool:
            found = await held(rows, id, by, "administer")
            whom = await rows.access.principal(principal)
            if not await rows.access.revoke(id, whom, action):
                return False
            await rows.access.settle(id, now)
            await documents.owned(rows, found, now)
            details = {"principal": whom, "action": action}
            await rows.record(Told("experiment.revoke", found, by, now, details))
            return True

        return await self._change(revoke)

    async def grants(self, id: str, by: Principal) -> list[Granted]:
        """Who may do what with it."""

        async def look(rows: Rows) -> list[Granted]:
            await rows.access.require(id, by, "administer")
            return await rows.access.grants(id)

        return await self._shelf.look(look)


async def _shown(rows: Rows, after: Experiment, shown: Visibility, told: Told) -> Seen:
    """Let an experiment be read as it says from now on."""
    owner = Owner(after.organization_id, after.team_id)
    await rows.access.broadcast(after.id, shown, owner, told.by, told.at)
    await rows.experiments.put(after)
    await rows.access.settle(after.id, told.at)
    await documents.owned(rows, after, told.at)
    await rows.record(told)
    return await seen(rows, after, told.by)
