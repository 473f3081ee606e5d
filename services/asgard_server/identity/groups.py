"""What is done with organisations and teams, and with who is a member of them."""

from __future__ import annotations

from dataclasses import dataclass

from gimle.asgard.core.access_errors import InUseError, LastAdministratorError
from gimle.asgard.core.errors import AlreadyExistsError, InvalidFieldError, NotFoundError

from asgard_server.auth.principal import Principal
from asgard_server.identity import domain, naming, rules
from asgard_server.identity.domain import Asked, Change, Group, GroupKind, Membership, Role, User
from asgard_server.identity.people import Told, is_last
from asgard_server.identity.store import Directory, Named, Rows

_SCOPES_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Scopes:
    """Whom a caller may act for: the user, if there is a row, then organisations, then teams."""

    user: User | None
    organizations: tuple[Group, ...]
    teams: tuple[Group, ...]


class Groups:
    """Organisations and teams as their members see and change them."""

    def __init__(self, directory: Directory, told: Told) -> None:
        self._directory = directory
        self._told = told

    async def create(
        self, asked: Asked, kind: GroupKind, slug: str, name: str, organization: str = ""
    ) -> Group:
        """Make a group, administered by whoever asks. Raises `InvalidFieldError`,
        `ForbiddenError`, `NotFoundError`, `AlreadyExistsError`.
        """
        if not organization:
            rules.require_administrator(asked.by)
        id = domain.group_id(kind, asked.at)
        slug = domain.slug("slug", slug)
        name = domain.name("name", name) or slug

        async def work(rows: Rows) -> Group:
            within = None
            if organization:
                within = await self._seen(rows, asked.by, organization, "organization")
                role = await rows.members.find(within.id, asked.by.sub)
                rules.require_administers(asked.by, within, role)
            inside = None if within is None else within.id
            made = Group(id, kind, slug, name, asked.at, asked.by.sub, inside)
            if not await rows.groups.add(made):
                raise AlreadyExistsError(kind, made.handle)
            await rows.members.put(Membership(id, asked.by.sub, "admin", "asgard", asked.at))
            await rows.record(asked, Change("create", kind, id, made.owner, {"slug": slug}))
            return made

        made = await self._directory.change(work)
        self._told()
        return made

    async def find(self, by: Principal, given: str, kind: GroupKind) -> Group:
        """Look up a group. Raises `NotFoundError`, also for one that is not shown to `by`."""
        return await self._directory.look(lambda rows: self._seen(rows, by, given, kind))

    async def page(
        self, by: Principal, kind: GroupKind, behind: str, limit: int, organization: str = ""
    ) -> list[Group]:
        """Groups that are shown to `by`, by slug. Raises `NotFoundError` of an organisation."""
        ids = None if rules.sees_all(by) else by.organizations | by.teams
        within = by.organizations if kind == "team" else frozenset[str]()

        async def work(rows: Rows) -> list[Group]:
            inside = None
            if organization:
                inside = (await self._seen(rows, by, organization, "organization")).id
            return await rows.groups.page(
                kind, behind, limit, ids=ids, within=within, organization_id=inside
            )

        return await self._directory.look(work)

    async def delete(self, asked: Asked, given: str, kind: GroupKind) -> None:
        """Remove a group that nothing belongs to. Raises `NotFoundError`, `ForbiddenError`,
        `InUseError`.
        """

        async def work(rows: Rows) -> None:
            group = await self._administered(rows, asked.by, given, kind)
            counts = await rows.groups.belongings(group)
            if counts:
                raise InUseError(group.handle, counts)
            await rows.groups.remove(group)
            details = {"slug": group.slug}
            await rows.record(asked, Change("delete", kind, group.id, group.owner, details))

        await self._directory.change(work)
        self._told()

    async def members(self, by: Principal, given: str, behind: str, limit: int) -> list[Named]:
        """Members of a group by id. Raises `NotFoundError`."""

        async def work(rows: Rows) -> list[Named]:
            group = await self._seen(rows, by, given, None)
            return await rows.members.of_group(group.id, behind, limit)

        return await self._directory.look(work)

    async def set_member(self, asked: Asked, given: str, user: str, role: Role) -> Named:
        """Make a user a member, or change the role. Raises `NotFoundError`, `ForbiddenError`,
        `InvalidFieldError`, `LastAdministratorError`.
        """

        async def work(rows: Rows) -> Named:
            group = await self._administered(rows, asked.by, given, None)
            found = await naming.resolve_user(rows, user)
            row = await rows.users.find(found.id)
            if row is not None and row.disabled_at is not None:
                raise NotFoundError("user", user)
            await self._require_outer(rows, group, found.id)
            before = await rows.members.find(group.id, found.id)
            if before is not None and before.role == "admin" and role != "admin":
                await self._require_another(rows, group, found)
            at = asked.at if before is None else before.created_at
            after = Membership(group.id, found.id, role, "asgard", at)
            if after != before:
                await rows.members.put(after)
                was = None if before is None else before.role
                details = {"user": found.id, "role": role, "before": was}
                change = Change("set_member", group.kind, group.id, group.owner, details)
                await rows.record(asked, change)
            return Named(after, row)

        named = await self._directory.change(work)
        self._told()
        return named

    async def remove_member(self, asked: Asked, given: str, user: str) -> bool:
        """End a membership; answer whether there was one. Raises as `set_member` does."""

        async def work(rows: Rows) -> bool:
            found = await naming.resolve_user(rows, user)
            if found.id == asked.by.sub:
                rules.require_person(asked.by)
                group = await self._seen(rows, asked.by, given, None, lock=True)
            else:
                group = await self._administered(rows, asked.by, given, None)
            before = await rows.members.find(group.id, found.id)
            if before is None:
                return False
            if before.role == "admin":
                await self._require_another(rows, group, found)
            await rows.members.remove(group.id, found.id)
            details = {"user": found.id, "before": before.role}
            change = Change("remove_member", group.kind, group.id, group.owner, details)
            await rows.record(asked, change)
            return True

        removed = await self._directory.change(work)
        if removed:
            self._told()
        return removed

    async def scopes(self, by: Principal) -> Scopes:
        """Whom `by` may act for. The local user may for everybody there is."""
        ids = None if by.sees_everything else by.organizations | by.teams

        async def work(rows: Rows) -> Scopes:
            user = await rows.users.find(by.sub)
            organizations = await rows.groups.page("organization", "", _SCOPES_AT_MOST, ids=ids)
            teams = await rows.groups.page("team", "", _SCOPES_AT_MOST, ids=ids)
            return Scopes(user, tuple(organizations), tuple(teams))

        return await self._directory.look(work)

    async def _seen(
        self, rows: Rows, by: Principal, given: str, kind: GroupKind | None, *, lock: bool = False
    ) -> Group:
        group = await naming.resolve_group(rows, given, kind, lock=lock)
        if not rules.sees(by, group):
            raise NotFoundError(kind or "principal", given)
        return group

    async def _administered(
        self, rows: Rows, by: Principal, given: str, kind: GroupKind | None
    ) -> Group:
        group = await self._seen(rows, by, given, kind, lock=True)
        role = await rows.members.find(group.id, by.sub)
        outer = None
        if group.organization_id is not None:
            outer = await rows.members.find(group.organization_id, by.sub)
        rules.require_administers(by, group, role, outer)
        return group

    async def _require_another(self, rows: Rows, group: Group, found: naming.Resolved) -> None:
        if await is_last(rows, group, found.id):
            raise LastAdministratorError(group.handle, found.handle)

    async def _require_outer(self, rows: Rows, group: Group, sub: str) -> None:
        """Who joins a team of an organisation is a member of that already."""
        if group.organization_id is None:
            return
        if await rows.members.find(group.organization_id, sub) is None:
            outer = await rows.groups.find(group.organization_id)
            handle = group.organization_id if outer is None else outer.handle
            raise InvalidFieldError(
                "user_id", f"is no member of {handle}", f"make them one first: {group.handle} is a "
                "part of it",
            )  # fmt: skip
