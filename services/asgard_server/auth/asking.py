"""Tokens looked up at IdentityService, by a process that is another one."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import grpc
from gimle.asgard.core.access_errors import TokenExpiredError, UnauthenticatedError
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from asgard_server.auth.codec import principal_of
from asgard_server.auth.verifying import Verified

_SECONDS = 5.0


class Asking:
    """The `LookUp` over a channel to IdentityService, whose calls say that a service asks."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        # The generated stubs are typed for either kind of channel.
        self._stub: Any = pb_grpc.IdentityServiceStub(channel)
        self._name = name

    async def __call__(self, token: str) -> Verified:
        """Say who shows a token. Raises `UnauthenticatedError`, `TokenExpiredError`, and
        `StorageUnavailableError` while nobody can say.
        """
        try:
            answer = await self._stub.VerifyToken(
                pb.VerifyTokenRequest(token=token), timeout=_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise self._refusal(error) from error
        if not answer.HasField("principal"):
            return Verified(None)
        said = answer.principal
        until = said.expire_time.ToDatetime(tzinfo=UTC) if said.HasField("expire_time") else None
        return Verified(principal_of(said), until)

    def _refusal(self, error: grpc.aio.AioRpcError) -> Exception:
        said = str(error.details() or "")
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            expired = _reason(error) == "TOKEN_EXPIRED"
            return TokenExpiredError(said) if expired else UnauthenticatedError(said)
        why = "it does not answer; try again"
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            why = said
        return StorageUnavailableError(f"identity service at {self._name}", why, passing=True)


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what it reads
    info = error_details_pb2.ErrorInfo()
    for detail in () if status is None else status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""
