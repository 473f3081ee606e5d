"""Who signs in by the OIDC provider is a user: made at first sight, and kept as its claims say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from gimle.asgard.core.access_errors import UnauthenticatedError

from asgard_server.auth.oidc import Claims
from asgard_server.auth.principal import LOCAL_SUB, Principal
from asgard_server.identity import domain
from asgard_server.identity.domain import Asked, Change, Group, Membership, User
from asgard_server.identity.store import Rows

# More groups than these of one token are not taken in: each would be a membership.
_MOST_GROUPS = 1_000
_HANDLE_CLAIMS = ("preferred_username", "nickname", "email")

_log = structlog.get_logger("asgard.auth")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims name a user's organisations and teams; None: none does."""

    organizations: str | None = None
    teams: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a token says of a user, in our words. Groups None: its claims do not name any.

    `teams` are (slug, name, slug of the organisation that it is a part of).
    """

    sub: str
    handle: str
    name: str
    email: str | None
    organizations: Mapping[str, str] | None
    teams: Mapping[str, tuple[str, str | None]] | None
    issued_at: datetime | None = None

    def comes_before(self, other: SignedIn) -> bool:
        """Whether it is of an older token than another: what it says is no longer so."""
        return is_older(self, other.issued_at)


def is_older(said: SignedIn, than: datetime | None) -> bool:
    """Whether a token was issued before another one that was issued then, as far as both say."""
    return said.issued_at is not None and than is not None and said.issued_at < than


def said_by(claims: Claims, names: ClaimNames) -> SignedIn:
    """Read claims. Raises `UnauthenticatedError` for a `sub` that cannot be a user's here."""
    problem = domain.id_problem(claims.sub)
    if problem:
        raise UnauthenticatedError(f"the token is not taken: its sub {problem}")
    values = claims.values
    email = values.get("email")
    email = email if isinstance(email, str) and len(email) <= domain.MAX_NAME else None
    handle = _handle(values, claims.sub)
    name = values.get("name")
    shown = _printable(name) if isinstance(name, str) else ""
    return SignedIn(
        claims.sub,
        handle,
        shown or handle,
        email,
        _organizations(values, names.organizations),
        _teams(values, names.teams),
        claims.issued_at,
    )


async def signed_in(rows: Rows, said: SignedIn, issuer: str, asked: Asked) -> User:
    """Bring the rows of a user to what a token says; nothing is written where they are so, or
    where a newer token has been seen.

    Raises `UnauthenticatedError` for one who has been shut out, and for the user of another
    provider, of whom this one knows nothing.
    """
    user = await rows.users.find(said.sub, lock=True)
    if user is None:
        user = await _made(rows, said, issuer, asked)
    if user.disabled_at is not None:
        raise UnauthenticatedError("this user has been shut out")
    if user.issuer not in ("", issuer):
        raise UnauthenticatedError(
            "the token is not taken: the user of its sub is one of another provider;"
            " an administrator gives it to this one (docs/access.md)"
        )
    if is_older(said, user.token_at):
        return user
    now = replace(
        user,
        name=said.name,
        email=said.email or user.email,
        issuer=issuer,
        token_at=said.issued_at or user.token_at,
    )
    if not user.issuer:
        details = {"issuer": issuer}
        await rows.record(asked, Change("bind", "user", said.sub, details=details))
    if now != user:
        await rows.users.change(now)
    await _join(rows, said, asked)
    return now


async def _made(rows: Rows, said: SignedIn, issuer: str, asked: Asked) -> User:
    for number in range(1, _MOST_GROUPS):
        handle = said.handle if number == 1 else f"{said.handle[:58]}-{number}"
        user = User(
            *(said.sub, handle, said.name, said.email, issuer, asked.at, said.sub),
            token_at=said.issued_at,
        )
        if handle != LOCAL_SUB and await rows.users.add(user):
            details = {"issuer": issuer, "handle": handle}
            await rows.record(asked, Change("create", "user", said.sub, details=details))
            return user
        there = await rows.users.find(said.sub, lock=True)
        if there is not None:  # by another call of theirs, at the same moment
            return there
    raise UnauthenticatedError(f"too many users are called {said.handle}")


async def _join(rows: Rows, said: SignedIn, asked: Asked) -> None:
    """Make the memberships that the provider vouches for those that it names now."""
    if said.organizations is None and said.teams is None:
        return
    there = {row.group_id: (row, kind) for row, kind in await rows.members.of_user(said.sub)}
    wanted: dict[str, Group] = {}
    for slug, name in (said.organizations or {}).items():
        group = await _group(rows, asked, Group("", "organization", slug, name, asked.at, said.sub))
        wanted[group.id] = group
    for slug, (name, within) in (said.teams or {}).items():
        team = await _team(rows, asked, Group("", "team", slug, name, asked.at, said.sub), within)
        if team is None or not (within or _is_open(team, wanted.keys() | there.keys())):
            _log.warning("oidc_team_not_joined", user=said.sub, team=slug, organization=within)
            continue
        wanted[team.id] = team
    for id, group in sorted(wanted.items()):
        # Who deletes it meanwhile comes before this, and then it is not there, or behind it.
        if id not in there and await rows.groups.find(id, lock=True) is not None:
            await rows.members.put(Membership(id, said.sub, "member", "oidc", asked.at))
            await _record(rows, asked, "set_member", group, said.sub)
    for id, (row, kind) in there.items():
        spoken_of = said.organizations if kind == "organization" else said.teams
        if row.source == "oidc" and id not in wanted and spoken_of is not None:
            await rows.members.remove(id, said.sub)
            gone = await rows.groups.find(id)
            if gone is not None:
                await _record(rows, asked, "remove_member", gone, said.sub)


async def _team(rows: Rows, asked: Asked, wanted: Group, within: str | None) -> Group | None:
    """The team of this slug; None where that is one of another organisation than `within`."""
    if within is None:
        return await _group(rows, asked, wanted)
    inside = await rows.groups.named("organization", within)
    if inside is None:
        return None
    team = await _group(rows, asked, replace(wanted, organization_id=inside.id))
    return team if team.organization_id == inside.id else None


def _is_open(team: Group, groups: Collection[str]) -> bool:
    """Whether a member of these groups may join: of its organisation, where it is part of one."""
    return team.organization_id is None or team.organization_id in groups


async def _group(rows: Rows, asked: Asked, wanted: Group) -> Group:
    """The group of this slug, which is made where there is none."""
    there = await rows.groups.named(wanted.kind, wanted.slug)
    if there is None:
        made = replace(wanted, id=domain.group_id(wanted.kind, asked.at))
        if await rows.groups.add(made):
            details = {"slug": made.slug, "by": "the OIDC provider"}
            await rows.record(asked, Change("create", made.kind, made.id, made.owner, details))
            return made
        there = await rows.groups.named(wanted.kind, wanted.slug)
    assert there is not None, wanted.slug  # noqa: S101 - a slug that is taken has a row
    return there


async def _record(rows: Rows, asked: Asked, action: str, group: Group, sub: str) -> None:
    details = {"user": sub, "by": "the OIDC provider"}
    await rows.record(asked, Change(action, group.kind, group.id, group.owner, details))


def asked_by(said: SignedIn, at: datetime) -> Asked:
    """Who is recorded for what a token changes: the user whose it is."""
    return Asked(Principal(said.sub), at)


def _handle(values: Mapping[str, Any], sub: str) -> str:
    for claim in _HANDLE_CLAIMS:
        value = values.get(claim)
        if isinstance(value, str):
            handle = domain.slug_like(value.partition("@")[0])
            if handle:
                return handle
    return domain.slug_like(sub) or "user"


def _organizations(values: Mapping[str, Any], claim: str | None) -> Mapping[str, str] | None:
    listed = _listed(values, claim)
    if listed is None:
        return None
    found = {domain.slug_like(path[0]): _printable(path[0]) for path in listed if len(path) == 1}
    return {slug: name for slug, name in found.items() if slug}


def _teams(
    values: Mapping[str, Any], claim: str | None
) -> Mapping[str, tuple[str, str | None]] | None:
    listed = _listed(values, claim)
    if listed is None:
        return None
    found: dict[str, tuple[str, str | None]] = {}
    for path in listed:
        slug = domain.slug_like(path[-1])
        within = domain.slug_like(path[-2]) if len(path) > 1 else ""
        if slug:
            found[slug] = (_printable(path[-1]), within or None)
    return found


def _listed(values: Mapping[str, Any], claim: str | None) -> list[list[str]] | None:
    """The paths of a claim, `acme` or `/acme/ml-team`; None where it is not there.

    A claim within another is named with dots: `realm_access.roles`.
    """
    if claim is None:
        return None
    value: Any = values.get(claim)
    if value is None and "." in claim:
        value = values
        for step in claim.split("."):
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return None if value is None else []
    texts = [each for each in value[:_MOST_GROUPS] if isinstance(each, str)]
    paths = [[step for step in text.split("/") if step.strip()] for text in texts]
    return [path for path in paths if path]


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[: domain.MAX_NAME].strip()
