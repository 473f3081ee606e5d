"""By what principals are named: handles and ids, and what stands behind them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gimle.asgard.core.errors import NotFoundError

from asgard_server.auth.principal import EVERYONE, LOCAL_SUB
from asgard_server.identity import domain
from asgard_server.identity.domain import Group, GroupKind, User
from asgard_server.identity.store import Rows

NamedKind = Literal["user", "organization", "team", "everyone"]


class Resolved(NamedTuple):
    """Who a handle or an id stands for."""

    id: str
    kind: NamedKind
    handle: str
    name: str


_LOCAL = Resolved(LOCAL_SUB, "user", f"@{LOCAL_SUB}", "the local user")
_EVERYONE = Resolved(EVERYONE, "everyone", EVERYONE, "everyone")


async def resolve(rows: Rows, given: str) -> Resolved:
    """Who is named by @alice, o/acme, t/ml-team, `everyone` or an id.

    Raises `NotFoundError` of a principal.
    """
    if given == EVERYONE:
        return _EVERYONE
    for kind, by, text in domain.meant(given):
        if kind == "user":
            if text == LOCAL_SUB and by == "id":
                return _LOCAL
            user = await (rows.users.named(text) if by == "handle" else rows.users.find(text))
            if user is not None:
                return _of_user(user)
        else:
            named = rows.groups.named(kind, text) if by == "handle" else rows.groups.find(text)
            if (group := await named) is not None:
                return _of_group(group)
    raise NotFoundError("principal", given)


async def resolve_user(rows: Rows, given: str) -> Resolved:
    """Which user is named. Raises `NotFoundError` of a user."""
    try:
        found = await resolve(rows, given)
    except NotFoundError:
        raise NotFoundError("user", given) from None
    if found.kind != "user":
        raise NotFoundError("user", given)
    return found


async def resolve_group(
    rows: Rows, given: str, kind: GroupKind | None = None, *, lock: bool = False
) -> Group:
    """Which organisation or team is named; only one of `kind`.

    Raises `NotFoundError` of that kind, of a principal without one.
    """
    missing = NotFoundError(kind or "principal", given)
    try:
        found = await resolve(rows, given)
    except NotFoundError:
        raise missing from None
    group = await rows.groups.find(found.id, lock=lock)
    if group is None or kind not in (None, group.kind):
        raise missing
    return group


def _of_user(user: User) -> Resolved:
    return Resolved(user.sub, "user", f"@{user.handle}", user.name)


def _of_group(group: Group) -> Resolved:
    return Resolved(group.id, group.kind, group.handle, group.name)
