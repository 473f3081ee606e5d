"""What Prometheus and Kubernetes ask a process that serves no page: numbers, life, readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import orjson
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# Asked every few seconds by a probe: an answer that takes longer is none.
READY_SECONDS = 2.0

_NO_STORE = {"cache-control": "no-store"}


class Readiness(NamedTuple):
    """Why a process cannot take requests now, empty while it can; and the states behind that.

    `services` are those of services and dependencies by name: SERVING, NOT_SERVING, or another
    word of gRPC's where not even that is known.
    """

    problem: str
    services: Mapping[str, str]


def create_metrics_app(
    readiness: Callable[[], Awaitable[Readiness]],
    registries: Sequence[CollectorRegistry] = (REGISTRY,),
) -> Starlette:
    """Make the application behind ASGARD_METRICS_PORT: /metrics, /healthz and /readyz."""

    async def metrics(request: Request) -> Response:
        body = await asyncio.to_thread(
            lambda: b"".join(generate_latest(registry) for registry in registries)
        )
        return Response(body, headers=_NO_STORE, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def healthz(request: Request) -> Response:
        return _answer(200, {"status": "ok"})

    async def readyz(request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_SECONDS):
                why, services = await readiness()
        except TimeoutError:
            why, services = f"no answer within {READY_SECONDS:g} seconds", {}
        if why:
            return _answer(503, {"status": "not ready", "detail": why, "services": services})
        return _answer(200, {"status": "ready", "services": services})

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )


def _answer(status: int, body: Mapping[str, object]) -> Response:
    headers = {**_NO_STORE, "retry-after": "1"} if status == 503 else _NO_STORE
    return Response(orjson.dumps(body), status, headers, "application/json")
