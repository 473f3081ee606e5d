"""Who may see and change what of identity. Pure; docs/access.md has it as a table."""

from __future__ import annotations

from gimle.asgard.core.access_errors import ForbiddenError

from asgard_server.auth.principal import Principal
from asgard_server.identity.domain import Group, Membership, User


def sees_all(by: Principal) -> bool:
    """Whether all users, organisations and teams are shown to `by`."""
    return by.sees_everything or by.admin


def sees(by: Principal, group: Group) -> bool:
    """Whether a group is shown to `by`: its members, and those of a team's organisation."""
    return sees_all(by) or group.id in by.keys or group.organization_id in by.organizations


def require_person(by: Principal) -> None:
    """Raise `ForbiddenError` for a program: who belongs to what is changed by people."""
    if by.kind in ("agent", "worker"):
        raise ForbiddenError(f"the key of {_article(by.kind)} changes nothing of identity")


def require_administrator(by: Principal) -> None:
    """Raise `ForbiddenError` unless `by` administers identity as a whole."""
    require_person(by)
    if not by.admin and not by.is_local:
        raise ForbiddenError("only an administrator of identity (ASGARD_ADMINS) may do this")


def require_makes_keys_for(by: Principal, user: User | None) -> None:
    """Raise `ForbiddenError` unless `by` may make keys that are another user's.

    Whoever signs in by a provider makes their own; a key made for them by somebody else would show
    what is theirs alone. Who cannot sign in has an administrator make the first.
    """
    require_administrator(by)
    if user is not None and user.issuer and not by.is_local:
        raise ForbiddenError(
            f"@{user.handle} signs in by an OIDC provider, and makes their keys themselves"
        )


def require_administers(by: Principal, group: Group, *roles: Membership | None) -> None:
    """Raise `ForbiddenError` unless `by` administers a group.

    `roles` are the memberships of `by` in the group, and in the organisation that it is a part of.
    """
    require_person(by)
    if by.admin or by.is_local:
        return
    if not any(each is not None and each.role == "admin" for each in roles):
        raise ForbiddenError(f"only an administrator of {group.handle} may do this")


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
