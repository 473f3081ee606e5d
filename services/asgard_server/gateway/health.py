"""GET /healthz: the process answers. GET /readyz: the service behind it does."""

from __future__ import annotations

from typing import Any

import grpc
import orjson
from grpc_health.v1 import health_pb2
from starlette.types import ASGIApp

from asgard_server.gateway.answers import Answer, serve
from asgard_server.gateway.problems import Problem
from asgard_server.gateway.request import Request

CHECK_SECONDS = 2.0
_SERVICE = "gimle.asgard.v1.RunService"
_NO_STORE = {"cache-control": "no-store"}


class Health:
    """Answers both; `storage_id` tells a client whether this is the monitor of its folder."""

    def __init__(self, channel: grpc.aio.Channel, storage_id: str, version: str) -> None:
        self._check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        self._body = orjson.dumps({"status": "ok", "storage_id": storage_id, "version": version})

    async def healthz(self, request: Request) -> ASGIApp:
        """Say that the process lives, and whose storage it serves."""
        request.only()
        return await serve(request, Answer(self._body, headers=_NO_STORE))

    async def readyz(self, request: Request) -> ASGIApp:
        """Say whether the service takes requests. Raises `Problem` 503."""
        request.only()
        try:
            reply = await self._check(
                health_pb2.HealthCheckRequest(service=_SERVICE).SerializeToString(),
                timeout=CHECK_SECONDS,
            )
            status = health_pb2.HealthCheckResponse.FromString(reply).status
            state = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        except grpc.aio.AioRpcError as error:
            state = error.code().name
        if state != "SERVING":
            raise Problem(
                503,
                f"the run service is not ready: {state}",
                "UNAVAILABLE",
                "NOT_READY",
                headers={"retry-after": "1"},
            )
        return await serve(request, Answer(b'{"status":"ready"}', headers=_NO_STORE))
