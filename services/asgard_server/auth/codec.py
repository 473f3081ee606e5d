"""Principals as messages, and back."""

from __future__ import annotations

from datetime import UTC, datetime

from gimle.asgard.v1 import principal_pb2 as pb

from asgard_server.auth.principal import KINDS, Kind, Principal, RunScope

_KINDS = {kind: pb.Principal.Kind.Value(f"KIND_{kind.upper()}") for kind in KINDS}
_NAMES: dict[int, Kind] = {number: kind for kind, number in _KINDS.items()}


def principal_message(principal: Principal, expires_at: datetime | None = None) -> pb.Principal:
    """A principal as other services are told of it."""
    message = pb.Principal(
        principal_id=principal.sub,
        kind=_KINDS[principal.kind],
        handle=principal.handle,
        organization_ids=sorted(principal.organizations),
        team_ids=sorted(principal.teams),
        admin=principal.admin,
        is_local=principal.is_local,
    )
    if principal.run is not None:
        message.run.experiment_id = principal.run.experiment_id
        message.run.variation = principal.run.variation
        message.run.run = principal.run.run
    if principal.key_id:
        message.key_id = principal.key_id
    if expires_at is not None:
        message.expire_time.FromDatetime(expires_at.astimezone(UTC).replace(tzinfo=None))
    return message


def principal_of(message: pb.Principal) -> Principal:
    """The principal of a message. Raises `ValueError` for one that is none."""
    if not message.principal_id or message.kind not in _NAMES:
        raise ValueError("a principal has an id and a kind")
    run = None
    if message.HasField("run"):
        run = RunScope(message.run.experiment_id, message.run.variation, message.run.run)
    return Principal(
        sub=message.principal_id,
        kind=_NAMES[message.kind],
        organizations=frozenset(message.organization_ids),
        teams=frozenset(message.team_ids),
        handle=message.handle,
        admin=message.admin,
        is_local=message.is_local,
        run=run,
        key_id=message.key_id,
    )
