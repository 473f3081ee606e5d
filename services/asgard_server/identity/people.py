"""What is done with users: making, finding, shutting out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gimle.asgard.core.access_errors import LastAdministratorError
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DeletedError,
    InvalidFieldError,
    NotFoundError,
)
from gimle.asgard.core.ids import new_id

from asgard_server.auth.principal import LOCAL_SUB, Principal
from asgard_server.identity import domain, naming, rules
from asgard_server.identity.domain import Asked, Change, User
from asgard_server.identity.naming import Resolved
from asgard_server.identity.store import Directory, Rows

Told = Callable[[], None]
"""Called after a change, upon which somebody may not be who they were."""


class People:
    """Users as they are administered, and found by each other."""

    def __init__(self, directory: Directory, told: Told) -> None:
        self._directory = directory
        self._told = told

    async def create(
        self, asked: Asked, sub: str, handle: str, name: str, email: str | None
    ) -> User:
        """Make a user. Raises `ForbiddenError`, `InvalidFieldError`, `AlreadyExistsError`,
        `DeletedError`.
        """
        rules.require_administrator(asked.by)
        handle = _handle(handle)
        made = User(
            sub=domain.user_id(sub) if sub else f"user_{new_id(asked.at).replace('-', '')}",
            handle=handle,
            name=domain.name("name", name) or handle,
            email=None if email is None else domain.name("email", email),
            issuer="",
            created_at=asked.at,
            created_by=asked.by.sub,
        )

        async def work(rows: Rows) -> User:
            if await rows.users.add(made):
                await rows.record(asked, Change("create", "user", made.sub))
                return made
            there = await rows.users.find(made.sub) or await rows.users.named(made.handle)
            if there is None:  # removed since; nothing is ever removed, but for a restore
                raise AlreadyExistsError("user", made.handle)
            if there.disabled_at is not None:
                raise DeletedError(there.sub, there.disabled_at)
            same = replace(made, sub=there.sub, created_at=there.created_at)
            same = replace(same, issuer=there.issuer, token_at=there.token_at)
            if (sub and there.sub != sub) or replace(same, created_by=there.created_by) != there:
                raise AlreadyExistsError("user", f"@{there.handle}")
            return there

        return await self._directory.change(work)

    async def find(self, by: Principal, given: str) -> User:
        """Look up a user. Raises `NotFoundError`, also for one whom `by` has nothing to do with."""

        async def work(rows: Rows) -> User:
            found = await naming.resolve_user(rows, given)
            user = await rows.users.find(found.id)
            if user is None or not await _knows(rows, by, user):
                raise NotFoundError("user", given)
            return user

        return _shown(by, await self._directory.look(work))

    async def page(self, by: Principal, behind: str, limit: int) -> list[User]:
        """Users that `by` shares a group with, by handle."""
        sharing = None if rules.sees_all(by) else by.organizations | by.teams
        found = await self._directory.look(
            lambda rows: rows.users.page(behind, limit, sharing, by.sub)
        )
        return [_shown(by, user) for user in found]

    async def shut_out(self, asked: Asked, given: str) -> None:
        """Let a user in no more. Raises `ForbiddenError`, `NotFoundError`,
        `LastAdministratorError`.
        """
        rules.require_administrator(asked.by)

        async def work(rows: Rows) -> None:
            found = await naming.resolve_user(rows, given)
            user = await rows.users.find(found.id, lock=True)
            if user is None:
                raise NotFoundError("user", given)
            if user.disabled_at is not None:
                return
            for membership, _ in await rows.members.of_user(user.sub):
                group = await rows.groups.find(membership.group_id, lock=True)
                if group is not None:
                    if membership.role == "admin" and await is_last(rows, group, user.sub):
                        raise LastAdministratorError(group.handle, f"@{user.handle}")
                    await rows.members.remove(group.id, user.sub)
            keys = await rows.keys.revoke_all(user.sub, asked.at)
            await rows.users.change(replace(user, disabled_at=asked.at))
            details = {"revoked_keys": ",".join(keys)}
            await rows.record(asked, Change("delete", "user", user.sub, details=details))

        await self._directory.change(work)
        self._told()

    async def resolve(self, given: str) -> Resolved:
        """Who a handle or an id stands for. Raises `NotFoundError`."""
        return await self._directory.look(lambda rows: naming.resolve(rows, given))


async def is_last(rows: Rows, group: domain.Group, sub: str) -> bool:
    """Whether nobody would administer a group without this user.

    A team of an organisation is administered by those of the organisation, too.
    """
    return group.organization_id is None and await rows.members.other_admins(group.id, sub) == 0


def _handle(given: str) -> str:
    handle = domain.slug("handle", given.removeprefix("@"))
    if handle == LOCAL_SUB:
        raise InvalidFieldError(
            "handle", "is 'local'", "give another one: that is the local user's"
        )
    return handle


async def _knows(rows: Rows, by: Principal, user: User) -> bool:
    if rules.sees_all(by) or user.sub == by.sub:
        return True
    groups = {membership.group_id for membership, _ in await rows.members.of_user(user.sub)}
    return not groups.isdisjoint(by.keys)


def _shown(by: Principal, user: User) -> User:
    """A user as `by` is shown them: the address is theirs, and the administrators'."""
    if rules.sees_all(by) or user.sub == by.sub:
        return user
    return replace(user, email=None)
