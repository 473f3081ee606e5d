"""Proto to the domain of identity and back, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import principal_pb2

from asgard_server.auth.principal import Principal
from asgard_server.identity import domain
from asgard_server.identity.domain import ApiKey, Group, KeyWish, Role, User
from asgard_server.identity.groups import Scopes
from asgard_server.identity.naming import Resolved
from asgard_server.identity.store import Named
from asgard_server.rpc.fields import optional

_KEY_TYPES = principal_pb2.ApiKey.KeyType
_ROLES = principal_pb2.Member.Role
_SCOPES = principal_pb2.Scope.Kind
_KEY_KINDS: dict[int, domain.KeyKind] = {
    _KEY_TYPES.KEY_TYPE_UNSPECIFIED: "user",
    _KEY_TYPES.KEY_TYPE_USER: "user",
    _KEY_TYPES.KEY_TYPE_AGENT: "agent",
    _KEY_TYPES.KEY_TYPE_WORKER: "worker",
}
_ROLE_NAMES: dict[int, Role] = {
    _ROLES.ROLE_UNSPECIFIED: "member",
    _ROLES.ROLE_ADMIN: "admin",
    _ROLES.ROLE_MEMBER: "member",
}


def key_wish(request: pb.CreateApiKeyRequest) -> KeyWish:
    """What is asked for with a key. Raises `InvalidFieldError`."""
    kind = _known(_KEY_KINDS, request.key_type, "key_type", "user, agent or worker")
    return KeyWish(
        name=request.name or request.description,
        kind=kind,
        expires_at=_moment(request, "expire_time"),
        days=optional(request, "expires_in_days"),
        run=domain.run_of(
            kind,
            optional(request, "experiment_id"),
            optional(request, "variation"),
            optional(request, "run"),
        ),
    )


def role(request: pb.SetMemberRequest) -> Role:
    """The role that is asked for. Raises `InvalidFieldError`."""
    asked: Role = _known(_ROLE_NAMES, request.role, "role", "admin or member")
    return asked


def email(request: pb.CreateUserRequest) -> str | None:
    """The address that is given."""
    given: str | None = optional(request, "email")
    return given


def user_message(user: User) -> principal_pb2.User:
    """A user."""
    message = principal_pb2.User(
        user_id=user.sub, handle=user.handle, name=user.name, email=user.email
    )
    _put(message.create_time, user.created_at)
    if user.disabled_at is not None:
        _put(message.disable_time, user.disabled_at)
    return message


def organization_message(group: Group) -> principal_pb2.Organization:
    """An organisation."""
    message = principal_pb2.Organization(
        organization_id=group.id, slug=group.slug, name=group.name, created_by=group.created_by
    )
    _put(message.create_time, group.created_at)
    return message


def team_message(group: Group) -> principal_pb2.Team:
    """A team."""
    message = principal_pb2.Team(
        team_id=group.id,
        slug=group.slug,
        name=group.name,
        organization_id=group.organization_id,
        created_by=group.created_by,
    )
    _put(message.create_time, group.created_at)
    return message


def member_message(named: Named) -> principal_pb2.Member:
    """A member."""
    membership, user = named
    message = principal_pb2.Member(
        user_id=membership.sub,
        handle=membership.sub if user is None else user.handle,
        name=membership.sub if user is None else user.name,
        role=_ROLES.ROLE_ADMIN if membership.role == "admin" else _ROLES.ROLE_MEMBER,
        from_provider=membership.source == "oidc",
    )
    _put(message.create_time, membership.created_at)
    return message


def key_message(key: ApiKey) -> principal_pb2.ApiKey:
    """What is known of a key."""
    message = principal_pb2.ApiKey(
        key_id=key.id,
        name=key.name,
        key_type=_KEY_TYPES.Value(f"KEY_TYPE_{key.kind.upper()}"),
        shown=key.shown,
        user_id=key.sub,
    )
    if key.run is not None:
        message.experiment_id = key.run.experiment_id
        message.variation, message.run = key.run.variation, key.run.run
    _put(message.create_time, key.created_at)
    for field, at in ((message.expire_time, key.expires_at), (message.revoke_time, key.revoked_at)):
        if at is not None:
            _put(field, at)
    return message


def scope_messages(by: Principal, scopes: Scopes) -> list[principal_pb2.Scope]:
    """Whom a caller may act for, personal first."""
    slug = by.handle.removeprefix("@") or by.sub
    name = slug if scopes.user is None else scopes.user.name
    groups = (*scopes.organizations, *scopes.teams)
    return [
        _scope(by.sub, "user", name, slug),
        *(_scope(group.id, group.kind, group.name, group.slug) for group in groups),
    ]


def resolved(found: Resolved) -> pb.ResolvePrincipalResponse:
    """Who a handle stands for; `everyone` is of no kind."""
    kind = _SCOPES.KIND_UNSPECIFIED
    if found.kind != "everyone":
        kind = _SCOPES.Value(f"KIND_{found.kind.upper()}")
    return pb.ResolvePrincipalResponse(
        principal_id=found.id, kind=kind, handle=found.handle, name=found.name
    )


def _scope(id: str, kind: str, name: str, slug: str) -> principal_pb2.Scope:
    number = _SCOPES.Value(f"KIND_{kind.upper()}")
    return principal_pb2.Scope(scope_id=id, kind=number, name=name, slug=slug)


def _known(table: dict[int, Any], number: int, field: str, words: str) -> Any:
    if number not in table:
        raise InvalidFieldError(field, f"is {number}", f"give {words}")
    return table[number]


def _moment(request: Any, field: str) -> datetime | None:
    if not request.HasField(field):
        return None
    try:
        found: datetime = getattr(request, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidFieldError(field, "is no time", "give one of the years 1 to 9999") from error
    return found


def _put(field: Any, at: datetime) -> None:
    field.FromDatetime(at.astimezone(UTC).replace(tzinfo=None))
