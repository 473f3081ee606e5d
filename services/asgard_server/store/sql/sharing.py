"""Who may do what with assets, in SQL: the port `Sharing`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gimle.asgard.core.access_errors import NotAMemberError
from gimle.asgard.core.asset_errors import AssetStateError
from gimle.asgard.core.errors import NotFoundError

from asgard_server.access import explaining
from asgard_server.access.domain import EVERYONE, OWN, Action, Owner, Visibility, broadcast
from asgard_server.access.explaining import Explanation, Grant
from asgard_server.asset.access_store import Granted, Move
from asgard_server.asset.domain import Asset
from asgard_server.auth.principal import LOCAL_SUB, Principal
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import access, asset_log, asset_rows, asset_series, audit
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.handles import handles_of
from asgard_server.store.sql.scopes import Scope, scope_of
from asgard_server.store.sql.session import Database, Session


class SqlSharing:
    """The port `Sharing` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(
        self, asset_id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> Granted:
        """Grant an action to whom an id or a handle stands for."""

        async def work(session: Session) -> Granted:
            asset = await asset_rows.held(session, asset_id, by, "administer")
            who = await _principal(session, principal)
            return await _grant(session, asset, who, action, by, now, "asset.grant")

        return await self._database.write(work)

    async def share(
        self, asset_id: str, scope: str, action: Action, by: Principal, now: datetime
    ) -> Granted:
        """Grant an action to a team or an organisation of the caller."""

        async def work(session: Session) -> Granted:
            asset = await asset_rows.held(session, asset_id, by, "administer")
            found = await scope_of(session, scope)
            if found is None or found.kind == "user":
                raise NotFoundError("principal", scope)
            _require_member(found, scope, by)
            return await _grant(session, asset, found.id, action, by, now, "asset.share")

        return await self._database.write(work)

    async def revoke(
        self, asset_id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> bool:
        """Take a grant back; whether it was there."""

        async def work(session: Session) -> bool:
            asset = await asset_rows.held(session, asset_id, by, "administer")
            who = await _principal(session, principal)
            removed = await access.revoke(session, "asset", asset_id, who, action)
            if removed:
                details = {"principal": who, "action": action}
                await _told(session, asset, by, now, "asset.revoke", details)
            return removed

        return await self._database.write(work)

    async def grants(self, asset_id: str, by: Principal) -> list[Grant]:
        """Who may do what, and where it comes from."""

        async def work(session: Session) -> list[Grant]:
            await access.require(session, "asset", asset_id, by, "administer")
            return await _grants(session, asset_id)

        return await self._database.read(work)

    async def explain(self, asset_id: str, principal: str, by: Principal) -> Explanation:
        """Why somebody may do something; the caller, for an empty text."""
        return await self._database.read(lambda session: _explain(session, asset_id, principal, by))

    async def set_visibility(
        self, asset_id: str, visibility: Visibility, by: Principal, now: datetime
    ) -> Asset:
        """Let others read it by its visibility."""

        async def work(session: Session) -> Asset:
            before = await asset_rows.held(session, asset_id, by, "administer")
            owner = Owner(before.organization_id, before.team_id)
            reader = broadcast(visibility, owner)
            if before.visibility == visibility:
                return before
            after = replace(before, visibility=visibility, updated_at=now)
            await access.broadcast(session, "asset", asset_id, reader, by.sub, micros(now))
            await _put_owner(session, after)
            details = {"visibility": visibility, "before": before.visibility}
            await _told(session, after, by, now, "asset.visibility", details)
            return after

        return await self._database.write(work)

    async def move(self, asset_id: str, to: Move, by: Principal, now: datetime) -> Asset:
        """Give it to an organisation, or to a team of it."""
        return await self._database.write(lambda session: _move(session, asset_id, to, by, now))


async def _principal(session: Session, text: str) -> str:
    if text == EVERYONE:
        return EVERYONE
    found = await scope_of(session, text)
    if found is None:
        raise NotFoundError("principal", text)
    return found.id


def _require_member(scope: Scope, text: str, by: Principal) -> None:
    if not by.sees_everything and scope.id not in by.organizations | by.teams:
        raise NotAMemberError(text)


async def _grant(
    session: Session,
    asset: Asset,
    who: str,
    action: Action,
    by: Principal,
    now: datetime,
    step: str,
) -> Granted:
    added = await access.grant(session, "asset", asset.id, who, action, OWN, by.sub, micros(now))
    if added:
        await _told(session, asset, by, now, step, {"principal": who, "action": action})
    for each in await _grants(session, asset.id):
        if (each.principal, each.action, each.source) == (who, action, OWN):
            return Granted(each, added)
    raise NotFoundError("asset", asset.id)  # never: it was just granted


async def _grants(session: Session, asset_id: str) -> list[Grant]:
    found = await access.grants(session, "asset", asset_id)
    handles = await handles_of(session, [each.principal for each in found])
    return [
        Grant(
            *(each.principal, each.action, each.source, each.granted_by),
            moment(each.granted_at),
            handles.get(each.principal, ""),
        )
        for each in found
    ]


async def _told(
    session: Session,
    asset: Asset,
    by: Principal,
    now: datetime,
    step: str,
    details: dict[str, Any],
    others: Sequence[Change] = (),
) -> None:
    """The end of a change: readers, audit, and last the log."""
    created, at = micros(asset.created_at), micros(now)
    before, after = await access.regrant(session, "asset", asset.id, created)
    await audit.note(session, by, step, "asset", asset.id, asset.organization_id, details, at=at)
    await asset_log.log_all(session, [*others, Change("asset", asset.id, before, after)])


async def _put_owner(session: Session, asset: Asset) -> None:
    await session.run(
        "UPDATE assets SET organization_id = ?, team_id = ?, visibility = ?, series_id = ?,"
        " version = ?, updated_at = ? WHERE id = ?",
        *(asset.organization_id, asset.team_id, asset.visibility, asset.series_id),
        *(asset.version, micros(asset.updated_at), asset.id),
    )


async def _move(session: Session, asset_id: str, to: Move, by: Principal, now: datetime) -> Asset:
    before = await asset_rows.held(session, asset_id, by, "administer")
    owner = await _target(session, to, by)
    if before.organization_id not in (None, owner.organization_id):
        mend = "only a person's asset is moved into an organization; ask its owner for a copy"
        raise AssetStateError(asset_id, f"owned by {before.organization_id}", mend)
    moved = replace(
        before,
        organization_id=owner.organization_id,
        team_id=owner.team_id,
        visibility=to.visibility,
    )
    if moved == before:
        return before
    moved, others = await _renumbered(session, before, replace(moved, updated_at=now), by, now)
    reader = broadcast(to.visibility, owner)
    await access.broadcast(session, "asset", asset_id, reader, by.sub, micros(now))
    details = {
        "organization_id": moved.organization_id,
        "team_id": moved.team_id,
        "visibility": moved.visibility,
        "before": {"organization_id": before.organization_id, "team_id": before.team_id},
    }
    await _told(session, moved, by, now, "asset.move", details, others)
    return await asset_rows.load(session, asset_id)


async def _target(session: Session, to: Move, by: Principal) -> Owner:
    organization = await scope_of(session, to.organization, lock=True) if to.organization else None
    if organization is None or organization.kind != "organization":
        raise NotFoundError("organization", to.organization)
    _require_member(organization, to.organization, by)
    if not to.team:
        return Owner(organization.id)
    team = await scope_of(session, to.team, lock=True)
    if team is None or team.kind != "team" or team.organization_id != organization.id:
        raise NotFoundError("team", to.team)  # of this organisation
    return Owner(organization.id, team.id)


async def _renumbered(
    session: Session, before: Asset, moved: Asset, by: Principal, now: datetime
) -> tuple[Asset, list[Change]]:
    """Write its new owner; with a name it is the next version of that name there.

    Answers the asset, and what is to be logged of others that "latest" moved from or to.
    """
    if before.series_id is None or before.scope_id == moved.scope_id:
        await _put_owner(session, moved)
        return moved, []
    await asset_series.leave(session, before, by.sub, now)
    left = await asset_series.moved_latest(
        session, before.series_id, by.sub, now, besides=before.id
    )
    moved = await asset_series.numbered(session, moved)
    await _put_owner(session, moved)
    assert moved.series_id is not None  # noqa: S101 - it has a name
    joined = await asset_series.moved_latest(session, moved.series_id, by.sub, now)
    return moved, await asset_log.unchanged(session, sorted({*left, *joined} - {before.id}))


async def _explain(session: Session, asset_id: str, principal: str, by: Principal) -> Explanation:
    myself = principal in ("", by.sub, by.handle)
    await access.require(session, "asset", asset_id, by, "read" if myself else "administer")
    who = by.sub if myself else await _principal(session, principal)
    grants = await _grants(session, asset_id)
    names = await handles_of(session, [who, *(each.granted_by for each in grants)])
    name = names.get(who, f"@{who}" if who == LOCAL_SUB else who)
    if myself and by.sees_everything:
        why = "sits at this machine" if by.is_local else "is one of Asgard's own services"
        return explaining.everything(who, name, why)
    keys = by.keys if myself else await _keys(session, who)
    return explaining.explain(who, name, keys, grants, names)


async def _keys(session: Session, who: str) -> frozenset[str]:
    rows = await session.all("SELECT scope_id FROM memberships WHERE sub = ?", who)
    return frozenset((who, EVERYONE, *(row[0] for row in rows)))
