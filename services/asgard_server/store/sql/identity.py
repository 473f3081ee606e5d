"""Who there is, in SQL: users, organisations and teams, memberships, and the audit of changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from asgard_server.identity.domain import Asked, Change, Group, GroupKind, User
from asgard_server.identity.store import Rows
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import audit
from asgard_server.store.sql.api_keys import SqlKeys
from asgard_server.store.sql.memberships import SqlMembers, kind_of, user_of
from asgard_server.store.sql.session import Database, Row, Session, marks

T = TypeVar("T")

_USER = "sub, handle, name, email, issuer, created_at, created_by, disabled_at, token_at"
_TABLES: Mapping[GroupKind, str] = {"organization": "organizations", "team": "teams"}
_GROUPS: Mapping[GroupKind, str] = {
    "organization": "SELECT id, slug, name, created_at, created_by, NULL FROM organizations",
    "team": "SELECT id, slug, name, created_at, created_by, organization_id FROM teams",
}
# What belongs to a group, and by which column.
_BELONGINGS: Mapping[GroupKind, tuple[tuple[str, str], ...]] = {
    "organization": (
        ("teams", "organization_id"),
        ("experiments", "organization_id"),
        ("assets", "organization_id"),
    ),
    "team": (("experiments", "team_id"), ("assets", "team_id")),
}


class SqlDirectory:
    """A `Directory` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work as one transaction."""

        async def changed(session: Session) -> T:
            return await work(SqlRows(session))

        return await self._database.write(changed)

    async def look(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work that changes nothing."""

        async def seen(session: Session) -> T:
            return await work(SqlRows(session))

        return await self._database.read(seen)


class SqlRows:
    """All rows of identity, in a transaction that may be somebody else's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.users = SqlUsers(session)
        self.groups = SqlGroups(session)
        self.members = SqlMembers(session)
        self.keys = SqlKeys(session)

    async def record(self, asked: Asked, change: Change) -> None:
        """Add a row to the audit."""
        await audit.note(
            self._session,
            asked.by,
            f"{change.object_kind}.{change.action}",
            change.object_kind,
            change.object_id,
            change.organization_id,
            change.details,
            at=micros(asked.at),
        )


class SqlUsers:
    """The users."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, sub: str, *, lock: bool = False) -> User | None:
        """Look up by id."""
        locking = self._session.for_update if lock else ""
        row = await self._session.one(f"SELECT {_USER} FROM users WHERE sub = ?{locking}", sub)  # noqa: S608 - ours
        return user_of(row)

    async def named(self, handle: str) -> User | None:
        """Look up by handle."""
        row = await self._session.one(f"SELECT {_USER} FROM users WHERE handle = ?", handle)  # noqa: S608 - ours
        return user_of(row)

    async def add(self, user: User) -> bool:
        """Add a row, unless the id or the handle is taken."""
        return (
            await self._session.run(
                f"INSERT INTO users ({_USER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
                " ON CONFLICT DO NOTHING",
                user.sub,
                user.handle,
                user.name,
                user.email,
                user.issuer,
                micros(user.created_at),
                user.created_by,
                None if user.disabled_at is None else micros(user.disabled_at),
                None if user.token_at is None else micros(user.token_at),
            )
            == 1
        )

    async def change(self, user: User) -> None:
        """Replace name, email, issuer, and the times of the newest token and of being shut out."""
        await self._session.run(
            "UPDATE users SET name = ?, email = ?, issuer = ?, disabled_at = ?, token_at = ?"
            " WHERE sub = ?",
            user.name,
            user.email,
            user.issuer,
            None if user.disabled_at is None else micros(user.disabled_at),
            None if user.token_at is None else micros(user.token_at),
            user.sub,
        )

    async def page(
        self, behind: str, limit: int, sharing: Collection[str] | None, themselves: str
    ) -> list[User]:
        """Users by handle."""
        condition, values = "", []
        if sharing is not None:
            groups = sorted(sharing)
            sharers = f"SELECT sub FROM memberships WHERE scope_id IN ({marks(groups)})"  # noqa: S608 - ours
            condition = f"AND (users.sub = ? OR users.sub IN ({sharers})) "
            values = [themselves, *groups]
        rows = await self._session.all(
            f"SELECT {_USER} FROM users WHERE handle > ? {condition}ORDER BY handle LIMIT ?",  # noqa: S608 - ours
            behind,
            *values,
            limit,
        )
        return [user for row in rows if (user := user_of(row)) is not None]


class SqlGroups:
    """Organisations and teams."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, id: str, *, lock: bool = False) -> Group | None:
        """Look up by id."""
        kind = kind_of(id)
        locking = self._session.for_update if lock else ""
        row = await self._session.one(f"{_GROUPS[kind]} WHERE id = ?{locking}", id)
        return _group(kind, row)

    async def named(self, kind: GroupKind, slug: str) -> Group | None:
        """Look up by slug."""
        return _group(kind, await self._session.one(f"{_GROUPS[kind]} WHERE slug = ?", slug))

    async def add(self, group: Group) -> bool:
        """Add a row, unless the slug is taken."""
        columns, values = "id, slug, name, created_at, created_by", [group.organization_id]
        if group.kind == "organization":
            values = []
        else:
            columns += ", organization_id"
        return (
            await self._session.run(
                f"INSERT INTO {_TABLES[group.kind]} ({columns}) VALUES"  # noqa: S608 - ours
                f" (?, ?, ?, ?, ?{', ?' * len(values)}) ON CONFLICT DO NOTHING",
                group.id,
                group.slug,
                group.name,
                micros(group.created_at),
                group.created_by,
                *values,
            )
            == 1
        )

    async def remove(self, group: Group) -> None:
        """Remove a row, and all memberships of it."""
        await self._session.run("DELETE FROM memberships WHERE scope_id = ?", group.id)
        await self._session.run(f"DELETE FROM {_TABLES[group.kind]} WHERE id = ?", group.id)  # noqa: S608 - ours

    async def page(
        self,
        kind: GroupKind,
        behind: str,
        limit: int,
        *,
        ids: Collection[str] | None = None,
        within: Collection[str] = (),
        organization_id: str | None = None,
    ) -> list[Group]:
        """Groups by slug."""
        conditions, values = ["slug > ?"], [behind]
        if ids is not None:
            conditions.append(
                f"(id IN ({marks(sorted(ids))})"
                + (f" OR organization_id IN ({marks(sorted(within))}))" if within else ")")
            )
            values += [*sorted(ids), *sorted(within)]
        if organization_id is not None:
            conditions.append("organization_id = ?")
            values.append(organization_id)
        rows = await self._session.all(
            f"{_GROUPS[kind]} WHERE {' AND '.join(conditions)} ORDER BY slug LIMIT ?",
            *values,
            limit,
        )
        return [group for row in rows if (group := _group(kind, row)) is not None]

    async def belongings(self, group: Group) -> Mapping[str, int]:
        """How many things of each kind belong to it."""
        counts: dict[str, int] = {}
        for table, column in _BELONGINGS[group.kind]:
            count = await self._session.value(
                f"SELECT count(*) FROM {table} WHERE {column} = ?",  # noqa: S608 - ours
                group.id,
            )
            if count:
                counts[table] = int(count)
        return counts


def _group(kind: GroupKind, row: Row | None) -> Group | None:
    if row is None:
        return None
    id, slug, name, created_at, created_by, organization_id = row
    return Group(id, kind, slug, name, moment(created_at), created_by, organization_id)
