"""What Prometheus and Kubernetes ask a process that serves no page: numbers, life, readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

# Asked every few seconds by a probe: an answer that takes longer is none.
READY_SECONDS = 2.0

_NO_STORE = {"cache-control": "no-store"}


def create_metrics_app(
    problem: Callable[[], Awaitable[str]], registries: Sequence[CollectorRegistry] = (REGISTRY,)
) -> Starlette:
    """Make the application behind ASGARD_METRICS_PORT: /metrics, /healthz and /readyz.

    `problem` answers why the process cannot take requests now, empty while it can.
    """

    async def metrics(request: Request) -> Response:
        body = await asyncio.to_thread(
            lambda: b"".join(generate_latest(registry) for registry in registries)
        )
        return Response(body, headers=_NO_STORE, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_NO_STORE)

    async def readyz(request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_SECONDS):
                why = await problem()
        except TimeoutError:
            why = f"no answer within {READY_SECONDS:g} seconds"
        if why:
            return PlainTextResponse(f"{why}\n", 503, {**_NO_STORE, "retry-after": "1"})
        return PlainTextResponse("ready\n", headers=_NO_STORE)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )
