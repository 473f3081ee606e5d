"""People, teams and organisations as callers name them: by id, or by handle."""

from __future__ import annotations

from typing import NamedTuple

from gimle.asgard.core.access_errors import NotAMemberError
from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import Owner
from asgard_server.auth.principal import LOCAL_SUB, Principal
from asgard_server.identity.domain import PrincipalKind, meant
from asgard_server.store.sql.session import Session

ScopeKind = PrincipalKind


class Scope(NamedTuple):
    """Somebody who may own things. `organization_id`: of a team."""

    kind: ScopeKind
    id: str
    organization_id: str | None = None


OWNED: dict[ScopeKind, str] = {
    "user": "o.created_by = ? AND o.organization_id IS NULL AND o.team_id IS NULL",
    "team": "o.team_id = ?",
    "organization": "o.organization_id = ?",
}
"""The condition that an asset or an experiment, called `o`, is of the scope of this kind and id."""


async def scope_of(session: Session, text: str, *, lock: bool = False) -> Scope | None:
    """Who is meant by an id, "@alice", "o/acme" or "t/ml-team"; None for nobody there is.

    `lock`, in a transaction that writes: an organisation or team stays until that has ended.
    """
    for kind, by, value in meant(text):
        if kind == "user":
            if value == LOCAL_SUB and by == "id":  # whoever sits at this machine is in no table
                return Scope("user", LOCAL_SUB)
            found = await _user(session, "handle" if by == "handle" else "sub", value)
        else:
            look = _organization if kind == "organization" else _team
            found = await look(session, "slug" if by == "handle" else "id", value, lock=lock)
        if found is not None:
            return found
    return None


async def owner_named(session: Session, organization: str, team: str) -> Owner:
    """Whose something is to be, as a caller names them; nobody's for two empty texts. They stay
    until the transaction has ended.

    Raises `NotFoundError`.
    """
    of = await _named(session, "organization", organization)
    within = await _named(session, "team", team)
    if within is None:
        return Owner(None if of is None else of.id)
    if of is not None and within.organization_id != of.id:
        raise NotFoundError("team", team)  # of this organisation
    return Owner(within.organization_id, within.id)


def require_member(owner: Owner, organization: str, team: str, by: Principal) -> None:
    """Raise `NotAMemberError` where a caller names somebody else's organisation or team."""
    if by.sees_everything:
        return
    if owner.team_id is not None:
        if owner.team_id not in by.teams and owner.organization_id not in by.organizations:
            raise NotAMemberError(team)
    elif owner.organization_id is not None and owner.organization_id not in by.organizations:
        raise NotAMemberError(organization)


async def _named(session: Session, kind: ScopeKind, text: str) -> Scope | None:
    if not text:
        return None
    found = await scope_of(session, text, lock=True)
    if found is None or found.kind != kind:
        raise NotFoundError(kind, text)
    return found


async def _user(session: Session, column: str, value: str) -> Scope | None:
    sub = await session.value(f"SELECT sub FROM users WHERE {column} = ?", value)  # noqa: S608 - ours
    return None if sub is None else Scope("user", sub)


def _kept(session: Session, lock: bool) -> str:
    """Others may keep the row, too; who removes it waits, and then counts what belongs to it."""
    return " FOR KEY SHARE" if lock and session.engine == "postgres" else ""


async def _organization(session: Session, column: str, value: str, *, lock: bool) -> Scope | None:
    query = f"SELECT id FROM organizations WHERE {column} = ?{_kept(session, lock)}"  # noqa: S608 - ours
    found = await session.value(query, value)
    return None if found is None else Scope("organization", found, found)


async def _team(session: Session, column: str, value: str, *, lock: bool) -> Scope | None:
    query = f"SELECT id, organization_id FROM teams WHERE {column} = ?{_kept(session, lock)}"  # noqa: S608 - ours
    row = await session.one(query, value)
    return None if row is None else Scope("team", row[0], row[1])
