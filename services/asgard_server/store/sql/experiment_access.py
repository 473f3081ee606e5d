"""Who may do what with an experiment in SQL, and what its assets have of that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import EVERYONE, IMPLIED, OWN, Action, Owner, Visibility
from asgard_server.access.domain import broadcast as readers_by
from asgard_server.auth.principal import Principal
from asgard_server.experiment.access_store import Circle, Granted
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import access, inheriting
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.handles import handles_of
from asgard_server.store.sql.scopes import owner_named, require_member, scope_of
from asgard_server.store.sql.session import Session


class SqlAccess:
    """The port `Access` within a transaction."""

    def __init__(self, session: Session, changed: Callable[[Change], None]) -> None:
        self._session = session
        self._changed = changed

    async def require(self, id: str, by: Principal, action: Action) -> None:
        """Raise `NotFoundError` or `ForbiddenError` unless the caller may do this."""
        await access.require(self._session, "experiment", id, by, action)

    async def actions(self, id: str, by: Principal) -> frozenset[Action]:
        """What the caller may do."""
        return await access.actions(self._session, "experiment", id, by)

    async def own(self, id: str, by: Principal, now: datetime) -> None:
        """Let the caller, who makes it, administer it."""
        await self.grant(id, by.sub, "administer", by, now)

    async def broadcast(
        self, id: str, visibility: Visibility, owner: Owner, by: Principal, now: datetime
    ) -> None:
        """Let it be read as its visibility says."""
        reader = readers_by(visibility, owner)
        at = micros(now)
        await access.broadcast(self._session, "experiment", id, reader, by.sub, at)

    async def grant(
        self, id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> bool:
        """Grant an action; answer whether that is new."""
        return await access.grant(
            *(self._session, "experiment", id, principal, action, OWN, by.sub, micros(now))
        )

    async def revoke(self, id: str, principal: str, action: Action) -> bool:
        """Take a grant back; answer whether it was there."""
        return await access.revoke(self._session, "experiment", id, principal, action)

    async def grants(self, id: str) -> list[Granted]:
        """Who may do what."""
        found = await access.grants(self._session, "experiment", id)
        handles = await handles_of(self._session, [each.principal for each in found])
        return [
            Granted(
                *(each.principal, each.action, each.source, each.granted_by),
                moment(each.granted_at),
                handles.get(each.principal, ""),
            )
            for each in found
        ]

    async def circle(self, id: str) -> Circle:
        """Who may read it, and who may write to it."""
        found = await access.grants(self._session, "experiment", id)
        return Circle(
            tuple(sorted({each.principal for each in found})),
            tuple(sorted({each.principal for each in found if "write" in IMPLIED[each.action]})),
        )

    async def settle(self, id: str, now: datetime) -> None:
        """Make its readers of its grants, and let its assets have what they have of them."""
        created_at = await access.hold(self._session, "experiment", id)
        before, after = await access.regrant(self._session, "experiment", id, created_at)
        self._changed(Change("experiment", id, before, after))
        for each in await inheriting.inherit_all(self._session, id, micros(now)):
            self._changed(each)

    async def principal(self, text: str) -> str:
        """The principal of an id or a handle. Raises `NotFoundError`."""
        if text == EVERYONE:
            return EVERYONE
        found = await scope_of(self._session, text)
        if found is None:
            raise NotFoundError("principal", text)
        return found.id

    async def owner(self, organization: str, team: str, by: Principal) -> Owner:
        """An organisation or a team of the caller. Raises `NotFoundError`, `NotAMemberError`."""
        owner = await owner_named(self._session, organization, team)
        require_member(owner, organization, team, by)
        return owner
