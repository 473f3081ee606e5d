"""Who is a member of what, in SQL; and users, whom memberships name."""

from __future__ import annotations

from typing import Any

from asgard_server.identity.domain import GroupKind, Membership, User
from asgard_server.identity.store import Named
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql.session import Row, Session


class SqlMembers:
    """Who is a member of what."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, group_id: str, sub: str) -> Membership | None:
        """Look one up."""
        row = await self._session.one(
            "SELECT scope_id, sub, role, source, created_at FROM memberships"
            " WHERE scope_id = ? AND sub = ?",
            group_id,
            sub,
        )
        return None if row is None else _membership(row)

    async def put(self, membership: Membership) -> None:
        """Add it, or replace role and source."""
        await self._session.run(
            "INSERT INTO memberships (scope_id, sub, role, source, created_at)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (scope_id, sub)"
            " DO UPDATE SET role = excluded.role, source = excluded.source",
            membership.group_id,
            membership.sub,
            membership.role,
            membership.source,
            micros(membership.created_at),
        )

    async def remove(self, group_id: str, sub: str) -> bool:
        """Remove it, and those of the organisation's teams."""
        await self._session.run(
            "DELETE FROM memberships WHERE sub = ? AND scope_id IN"
            " (SELECT id FROM teams WHERE organization_id = ?)",
            sub,
            group_id,
        )
        gone = await self._session.run(
            "DELETE FROM memberships WHERE scope_id = ? AND sub = ?", group_id, sub
        )
        return gone > 0

    async def of_user(self, sub: str) -> list[tuple[Membership, GroupKind]]:
        """All memberships of a user."""
        rows = await self._session.all(
            "SELECT scope_id, sub, role, source, created_at FROM memberships WHERE sub = ?"
            " ORDER BY scope_id",
            sub,
        )
        return [(_membership(row), kind_of(row[0])) for row in rows]

    async def of_group(self, group_id: str, behind: str, limit: int) -> list[Named]:
        """Members by id."""
        rows = await self._session.all(
            "SELECT m.scope_id, m.sub, m.role, m.source, m.created_at, u.sub, u.handle, u.name,"
            " u.email, u.issuer, u.created_at, u.created_by, u.disabled_at, u.token_at"
            " FROM memberships m LEFT JOIN users u ON u.sub = m.sub"
            " WHERE m.scope_id = ? AND m.sub > ? ORDER BY m.sub LIMIT ?",
            group_id,
            behind,
            limit,
        )
        return [
            Named(_membership(row[:5]), None if row[5] is None else user_of(row[5:]))
            for row in rows
        ]

    async def other_admins(self, group_id: str, sub: str) -> int:
        """How many administrators it has beside one."""
        count = await self._session.value(
            "SELECT count(*) FROM memberships WHERE scope_id = ? AND sub <> ? AND role = 'admin'",
            group_id,
            sub,
        )
        return int(count)


def kind_of(id: str) -> GroupKind:
    """What an id is one of, by what it begins with."""
    return "organization" if id.startswith("org_") else "team"


def user_of(row: Row | None) -> User | None:
    """The user of a row, in the order of its columns."""
    if row is None:
        return None
    sub, handle, name, email, issuer, created_at, created_by, *times = row
    disabled_at, token_at = (None if time is None else moment(time) for time in times)
    return User(
        sub, handle, name, email, issuer, moment(created_at), created_by, disabled_at, token_at
    )


def _membership(row: tuple[Any, ...]) -> Membership:
    group_id, sub, role, source, created_at = row
    return Membership(group_id, sub, role, source, moment(created_at))
