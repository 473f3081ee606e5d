"""GET /healthz: the process answers. GET /readyz: what is behind it does, and takes requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
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
# What a replica says of itself, by the names of its health service: without one of the first
# it takes no requests, without the last it is slower to tell of changes.
_NEEDED = ("documents", "index")
_ASKED = (_SERVICE, *_NEEDED, "bell")
_NO_STORE = {"cache-control": "no-store"}


class Health:
    """Answers both; `storage_id` tells a client whether this is the monitor of its folder.

    `stopping` says that this process is about to end: requests are to go elsewhere.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        storage_id: str,
        version: str,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        self._stopping = stopping
        self._body = orjson.dumps({"status": "ok", "storage_id": storage_id, "version": version})

    async def healthz(self, request: Request) -> ASGIApp:
        """Say that the process lives, and whose storage it serves."""
        request.only()
        return await serve(request, Answer(self._body, headers=_NO_STORE))

    async def readyz(self, request: Request) -> ASGIApp:
        """Say whether requests can be served, and what is missing if not. Raises `Problem` 503."""
        request.only()
        states = await self.states()
        why = self.problem(states)
        if why:
            raise Problem(
                503, why, "UNAVAILABLE", "NOT_READY", states, headers={"retry-after": "1"}
            )
        body = orjson.dumps({"status": "ready", "services": states})
        return await serve(request, Answer(body, headers=_NO_STORE))

    async def states(self) -> Mapping[str, str]:
        """What RunService and what it depends on say: SERVING, NOT_SERVING, or why not even that.

        Dependencies are left out when the service cannot be asked.
        """
        service, *others = await asyncio.gather(*map(self._state, _ASKED))
        known = ("SERVING", "NOT_SERVING")
        found = {_SERVICE: service}
        found |= {
            name: state for name, state in zip(_ASKED[1:], others, strict=True) if state in known
        }
        return found

    def problem(self, states: Mapping[str, str]) -> str:
        """Why this process takes no requests now; empty when it does."""
        if self._stopping():
            return "this gateway is stopping"
        if states[_SERVICE] == "SERVING":
            return ""
        away = [name for name in _NEEDED if states.get(name) == "NOT_SERVING"]
        if away:
            return f"the run service is not ready: its {' and '.join(away)} cannot be reached"
        return f"the run service is not ready: {states[_SERVICE]}"

    async def _state(self, name: str) -> str:
        try:
            reply = await self._check(
                health_pb2.HealthCheckRequest(service=name).SerializeToString(),
                timeout=CHECK_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        status = health_pb2.HealthCheckResponse.FromString(reply).status
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
