"""IdentityService put together: over a database, as a part of a process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gimle.asgard.v1 import identity_service_pb2, identity_service_pb2_grpc

from asgard_server.auth.oidc import Provider, Tokens
from asgard_server.auth.verifying import Verifier
from asgard_server.identity.groups import Groups
from asgard_server.identity.handlers import IdentityHandlers
from asgard_server.identity.keys import Keys
from asgard_server.identity.people import People
from asgard_server.identity.signing_in import ClaimNames
from asgard_server.identity.verifying import LookUps, Oidc
from asgard_server.processes.who import Who, who_inside, who_of
from asgard_server.rpc.server import Service
from asgard_server.settings import Settings
from asgard_server.settings.who import audiences
from asgard_server.store.sql.identity import SqlDirectory
from asgard_server.store.sql.session import Database

IDENTITY_SERVICE = identity_service_pb2.DESCRIPTOR.services_by_name["IdentityService"].full_name


@dataclass(frozen=True, slots=True)
class Identity:
    """IdentityService as a part of a process, and how that process finds out who calls it."""

    service: Service
    who: Who


def open_identity(settings: Settings, database: Database, *, inside: bool = False) -> Identity:
    """IdentityService over a database; `inside`: all others are in this process, too."""
    directory = SqlDirectory(database)
    look_ups = LookUps(
        directory,
        _now,
        oidc=_oidc(settings),
        admins=settings.admins,
        takes_local=settings.auth == "local",
    )
    verifier = Verifier(look_ups)

    handlers = IdentityHandlers(
        People(directory, verifier.forget),
        Groups(directory, verifier.forget),
        Keys(directory, verifier.forget),
        look_ups,
        _now,
    )
    add = identity_service_pb2_grpc.add_IdentityServiceServicer_to_server
    who = who_inside(settings, verifier) if inside else who_of(settings, verifier)
    return Identity(Service(IDENTITY_SERVICE, add, handlers), who)


def _oidc(settings: Settings) -> Oidc | None:
    if settings.oidc_issuer is None:
        return None
    provider = Provider(settings.oidc_issuer, audiences(settings), settings.oidc_leeway_seconds)
    names = ClaimNames(settings.oidc_organizations_claim, settings.oidc_teams_claim)
    return Oidc(provider, Tokens(provider), names)


def _now() -> datetime:
    return datetime.now(UTC)
