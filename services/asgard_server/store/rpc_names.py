"""Handles as IdentityService resolves them, which is asked by gRPC: the port `Names` of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.principal_pb2 import Scope

if TYPE_CHECKING:
    from asgard_server.run.naming import Kind

_SECONDS = 5.0
_KINDS: dict[int, Kind] = {
    Scope.KIND_USER: "user",
    Scope.KIND_ORGANIZATION: "organization",
    Scope.KIND_TEAM: "team",
}


class RpcNames:
    """IdentityService over `channel`, which leads to where `place` says."""

    def __init__(self, channel: grpc.aio.Channel, place: str) -> None:
        # The generated stubs are typed for either kind of channel.
        self._stub: Any = pb_grpc.IdentityServiceStub(channel)
        self._place = place

    async def __call__(self, handle: str) -> tuple[Kind, str] | None:
        """Who is meant; None for nobody. Raises `StorageUnavailableError`."""
        try:
            answer = await self._stub.ResolvePrincipal(
                pb.ResolvePrincipalRequest(handle=handle), timeout=_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                return None
            why = "it does not say whose a handle is; try again, or give an id"
            raise StorageUnavailableError(
                f"identity service at {self._place}", why, passing=True
            ) from error
        return _KINDS.get(answer.kind, "everyone"), answer.principal_id
