"""Who a call says it is made by: headers, and which of them are believed of whom.

A client shows a key or a token, `authorization: Bearer ...`. A service of ours shows the key that
services know each other by, or a certificate, and may say for whom it asks; from anybody else that
is not read.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from gimle.asgard.core.access_errors import ForbiddenError, UnauthenticatedError
from gimle.asgard.v1 import principal_pb2 as pb
from google.protobuf.message import DecodeError

from asgard_server.auth import codec
from asgard_server.auth.principal import LOCAL, SERVICE_SUB, Principal

AUTHORIZATION = "authorization"
SERVICE_KEY = "x-asgard-service-key"
PRINCIPAL = "x-asgard-principal"

Headers: TypeAlias = "tuple[tuple[str, str], ...]"

SERVICE = Principal(SERVICE_SUB, "service", handle="service")
"""A service that asks for itself."""

# Shown instead of a key: look at the certificate.
CERTIFICATE = "certificate"

_NAMES = ("x509_subject_alternative_name", "x509_common_name")
_OURS = frozenset({AUTHORIZATION, SERVICE_KEY, PRINCIPAL})


class Verify(Protocol):
    """Says who shows a token: None for one that nobody here knows.

    Raises `UnauthenticatedError`, or `TokenExpiredError`, for one that is good no more.
    """

    def __call__(self, token: str) -> Awaitable[Principal | None]:
        """Look the token up."""


class Believing:
    """The `Authenticate` of a service.

    `verify` None: tokens are not looked at. `required`: who shows none is refused, else is the
    local user. `service_key` is what services show each other, `service_names` are names in the
    certificates of services.
    """

    def __init__(
        self,
        verify: Verify | None,
        *,
        required: bool,
        service_key: str | None = None,
        service_names: Collection[str] = (),
    ) -> None:
        self._verify = verify
        self._required = required
        self._service_key = None if service_key is None else service_key.encode()
        self._service_names = frozenset(name.encode() for name in service_names)

    def __call__(self, context: Any) -> Principal | Awaitable[Principal]:
        """Say who makes a call: at once where no token is shown."""
        given: dict[str, str] | None = None
        for key, value in context.invocation_metadata() or ():
            if key in _OURS and isinstance(value, str):
                given = {} if given is None else given
                given.setdefault(key, value)
        if given is None:
            return self._nobody()
        if self._is_service(given, context):
            return forwarded(given)
        return self.of_client(given.get(AUTHORIZATION, ""))

    def of_client(self, authorization: str) -> Principal | Awaitable[Principal]:
        """Say who shows this header. Raises `UnauthenticatedError`."""
        token = bearer(authorization)
        if token and self._verify is not None:
            return self._verified(self._verify(token))
        return self._nobody()

    def _nobody(self) -> Principal:
        if self._required:
            raise UnauthenticatedError
        return LOCAL

    async def _verified(self, looked_up: Awaitable[Principal | None]) -> Principal:
        found = await looked_up
        if found is not None:
            return found
        if self._required:
            raise UnauthenticatedError("the API key or token is none of this server's")
        return LOCAL

    def _is_service(self, given: Mapping[str, str], context: Any) -> bool:
        shown = given.get(SERVICE_KEY)
        if shown is None:
            # Also where its certificate is a service's: a gateway asks for clients, too.
            return False
        if shown == CERTIFICATE:
            peer: Mapping[str, Iterable[bytes]] = context.auth_context() or {}
            names = {name for kind in _NAMES for name in peer.get(kind, ())}
            known = not names.isdisjoint(self._service_names)
        else:
            known = self._service_key is not None and hmac.compare_digest(
                shown.encode(), self._service_key
            )
        if not known:
            raise ForbiddenError(
                "this is not a service that is known here: give all services the same"
                " ASGARD_SERVICE_KEY"
            )
        return True


def forwarded(given: Mapping[str, str]) -> Principal:
    """For whom a service asks: for itself, unless it says so. Raises `UnauthenticatedError`."""
    packed = given.get(PRINCIPAL)
    if packed is None:
        return SERVICE
    try:
        return codec.principal_of(pb.Principal.FromString(urlsafe_b64decode(packed)))
    except (Base64Error, DecodeError, ValueError) as error:
        raise UnauthenticatedError(f"{PRINCIPAL} cannot be read") from error


def passing(principal: Principal) -> str:
    """A principal as a service passes it on."""
    return urlsafe_b64encode(codec.principal_message(principal).SerializeToString()).decode()


def bearer(authorization: str) -> str:
    """The token of a header, empty where there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
