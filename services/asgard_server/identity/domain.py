"""Users, organisations and teams, memberships and API keys; what they may be called. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.ids import new_id

from asgard_server.auth.principal import EVERYONE, LOCAL_SUB, SERVICE_SUB, Principal, RunScope

GroupKind = Literal["organization", "team"]
PrincipalKind = Literal["user", "organization", "team"]
Role = Literal["admin", "member"]
Source = Literal["asgard", "oidc"]
KeyKind = Literal["user", "agent", "worker"]

MAX_NAME = 200
MAX_ID = 200
AGENT_DAYS = 90
MOST_DAYS = 3_650

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_NO_SLUG = re.compile(r"[^a-z0-9._-]+")
_PREFIXES: Mapping[GroupKind, str] = {"organization": "o/", "team": "t/"}
_ID_PREFIXES: Mapping[GroupKind, str] = {"organization": "org_", "team": "team_"}
# What an id may not be, or begin with, because it means something else where principals are named.
_RESERVED = frozenset({LOCAL_SUB, SERVICE_SUB, EVERYONE})
_NO_ID = re.compile(r"@|[ot]/|org_|team_|key_|sk_")


@dataclass(frozen=True, slots=True)
class User:
    """A user. `issuer`: the OIDC provider whose user it is, empty while none has vouched for it.

    `token_at`: when the newest of its tokens was issued that has been seen here.
    """

    sub: str
    handle: str
    name: str
    email: str | None
    issuer: str
    created_at: datetime
    created_by: str
    disabled_at: datetime | None = None
    token_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """An organisation or a team; `organization_id` is what a team is a part of, if anything."""

    id: str
    kind: GroupKind
    slug: str
    name: str
    created_at: datetime
    created_by: str
    organization_id: str | None = None

    @property
    def handle(self) -> str:
        """What it is named by: o/acme, t/ml-team."""
        return _PREFIXES[self.kind] + self.slug

    @property
    def owner(self) -> str | None:
        """The organisation whose administrators read of it in the audit."""
        return self.id if self.kind == "organization" else self.organization_id


@dataclass(frozen=True, slots=True)
class Membership:
    """That a user is a member of a group."""

    group_id: str
    sub: str
    role: Role
    source: Source
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of an API key; the key itself is nowhere, `hash` is its SHA-256."""

    id: str
    hash: str = field(repr=False)
    kind: KeyKind
    name: str
    shown: str
    sub: str
    run: RunScope | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyWish:
    """What is asked for with a key."""

    name: str
    kind: KeyKind
    expires_at: datetime | None
    days: int | None
    run: RunScope | None


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to which thing of identity: a row of the audit, but for who and when."""

    action: str
    object_kind: str
    object_id: str
    organization_id: str | None = None
    details: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and when."""

    by: Principal
    at: datetime


class Meant(NamedTuple):
    """Who a text may stand for: by the handle without what it begins with, or by the id."""

    kind: PrincipalKind
    by: Literal["handle", "id"]
    text: str


def meant(text: str) -> list[Meant]:
    """Whom @alice, o/acme, t/ml-team or an id may stand for: the first of them that is there.

    The one rule for every service; the local user and everyone are in no table.
    """
    if text == f"@{LOCAL_SUB}":
        return [Meant("user", "id", LOCAL_SUB)]
    found = [Meant("user", "handle", text[1:])] if text.startswith("@") else []
    for kind, prefix in _PREFIXES.items():
        if text.startswith(prefix):
            found.append(Meant(kind, "handle", text[len(prefix) :]))
    for kind, prefix in _ID_PREFIXES.items():
        if text.startswith(prefix):
            found.append(Meant(kind, "id", text))
    return [*found, Meant("user", "id", text)]


def group_id(kind: GroupKind, at: datetime) -> str:
    """An id for a group that is made now."""
    return _ID_PREFIXES[kind] + new_id(at).replace("-", "")


def hash_of(key: str) -> str:
    """What is kept of a key: it has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def slug(field_name: str, given: str) -> str:
    """Check what something is named by. Raises `InvalidFieldError`."""
    if _SLUG.fullmatch(given) is None:
        raise InvalidFieldError(
            field_name,
            f"is {given[:80]!r}",
            "give 1 to 64 of a to z, 0 to 9, '-', '_' and '.', with a letter or digit at both ends",
        )
    return given


def slug_like(given: str) -> str:
    """The slug nearest to a name from elsewhere; empty where there is nothing to make it of."""
    made = _NO_SLUG.sub("-", given.strip().lower()).strip("-_.")
    return made[:64].strip("-_.")


def name(field_name: str, given: str) -> str:
    """Check words that people read. Raises `InvalidFieldError`."""
    if len(given) > MAX_NAME:
        raise InvalidFieldError(
            field_name, f"has {len(given):,} characters", f"give at most {MAX_NAME}"
        )
    if any(not character.isprintable() for character in given):
        raise InvalidFieldError(field_name, "has a control character", "give plain words")
    return given


def user_id(given: str) -> str:
    """Check the id of a user that comes from elsewhere. Raises `InvalidFieldError`."""
    problem = id_problem(given)
    if problem:
        raise InvalidFieldError("id", problem, "give the sub of the user, or leave it out")
    return given


def id_problem(given: str) -> str:
    """Why this cannot be the id of a user, empty if it can."""
    if not given or len(given) > MAX_ID:
        return f"has {len(given)} characters, not 1 to {MAX_ID}"
    if any(character.isspace() or not character.isprintable() for character in given):
        return "has a space or a control character"
    if given in _RESERVED or _NO_ID.match(given):
        return f"is {given[:80]!r}, which names something else"
    return ""


def expiry(wish: KeyWish, now: datetime) -> datetime | None:
    """Until when a key is good. Raises `InvalidFieldError`."""
    if wish.days is not None:
        if wish.expires_at is not None:
            raise InvalidFieldError(
                "expires_in_days", "is given beside expires_at", "give one of them"
            )
        if not 1 <= wish.days <= MOST_DAYS:
            raise InvalidFieldError("expires_in_days", f"is {wish.days}", f"give 1 to {MOST_DAYS}")
        return now + timedelta(days=wish.days)
    if wish.expires_at is None:
        return now + timedelta(days=AGENT_DAYS) if wish.kind == "agent" else None
    if not now < wish.expires_at <= now + timedelta(days=MOST_DAYS):
        raise InvalidFieldError(
            "expires_at",
            f"is {wish.expires_at.isoformat()}",
            f"give a time to come, of the next {MOST_DAYS} days",
        )
    return wish.expires_at


def run_of(
    kind: KeyKind, experiment_id: str | None, variation: int | None, run: int | None
) -> RunScope | None:
    """The run that a key is tied to: a worker's must be. Raises `InvalidFieldError`."""
    given = {"experiment_id": experiment_id, "variation": variation, "run": run}
    if kind != "worker":
        for field_name, value in given.items():
            if value is not None:
                raise InvalidFieldError(
                    field_name, f"is given for a key of type {kind}", "leave it out, or ask for "
                    "key_type worker",
                )  # fmt: skip
        return None
    if not experiment_id or variation is None or run is None:
        missing = next(name for name, value in given.items() if value in (None, ""))
        raise InvalidFieldError(
            missing, "is missing", "a worker's key names experiment_id, variation and run"
        )
    for field_name, number in (("variation", variation), ("run", run)):
        if number < 0:
            raise InvalidFieldError(field_name, f"is {number}", "give 0 or more")
    return RunScope(experiment_id, variation, run)
