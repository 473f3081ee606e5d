"""The gateway put together: the page and REST over a channel to RunService."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

import grpc
from starlette.applications import Starlette

from asgard_server.auth.code_flow import Client, RelyingParty
from asgard_server.auth.oidc import Provider, Tokens
from asgard_server.gateway.app import GatewayOptions, create_app
from asgard_server.gateway.health import Health
from asgard_server.gateway.sign_in.endpoints import SignIn
from asgard_server.processes.metrics_server import Readiness
from asgard_server.processes.page_server import PageServer
from asgard_server.processes.signals import first_to_end
from asgard_server.processes.who import Who
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings
from asgard_server.settings.sign_in import check_can_sign_in


def gateway_app(
    settings: Settings,
    channel: grpc.aio.Channel,
    *,
    others: Mapping[str, grpc.aio.Channel] | None = None,
    storage_id: str = "",
    shows_metrics: bool = True,
    tracer: Tracer | None = None,
    who: Who | None = None,
) -> Starlette:
    """The page and REST; with its metrics, unless another port shows them.

    `channel` leads to RunService, and to all services that are not among `others`. `who` finds
    out who asks.
    """
    who = who or Who()
    asked = settings.auth == "required" and who.believing is not None
    check_can_sign_in(settings)
    return create_app(
        channel,
        GatewayOptions(
            allowed_hosts=settings.allowed_hosts,
            cache_seconds=settings.cache_seconds,
            storage_id=storage_id,
            version=version("asgard-server"),
            shows_metrics=shows_metrics,
            tracer=tracer,
            of_client=who.believing.of_client if asked and who.believing else None,
            of_known=who.believing.of_client if who.believing and not asked else None,
            own=who.headers,
            sign_in=sign_in_of(settings) if asked else None,
            asks=asked,
        ),
        others,
    )


def sign_in_of(settings: Settings) -> SignIn | None:
    """How browsers sign in as settings say; None where they cannot."""
    if not settings.session_key:
        return None
    return SignIn(settings.session_key, _party(settings), settings.session_hours)


def _party(settings: Settings) -> RelyingParty | None:
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    client = Client(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret,
        settings.oidc_scopes,
    )
    provider = Provider(client.issuer, (client.id,), settings.oidc_leeway_seconds)
    return RelyingParty(client, Tokens(provider))


async def serve_page(
    app: Starlette,
    listener: socket.socket,
    *,
    drain_seconds: float,
    stopping: asyncio.Event,
    beside: tuple[asyncio.Task[None], ...] = (),
    ready: Callable[[], None] = lambda: None,
    on_stop: Callable[[], Awaitable[None]] | None = None,
) -> BaseException | None:
    """Serve the page until `stopping`, or until a task `beside` ends; answer its error.

    Then what has begun is finished, for `drain_seconds` at most; `on_stop` is called before.
    """
    http = PageServer(app, drain_seconds=drain_seconds)
    serving = asyncio.create_task(http.serve([listener]))
    await first_to_end(http.up, (serving,))
    if not serving.done():
        ready()
    failed = await first_to_end(stopping, (serving, *beside))
    # First, so that the gateway does not take the end of its watch for a breach.
    app.state.stop_streams()
    if on_stop is not None:
        await on_stop()
    http.stop()
    await serving
    return failed


def readiness_of(app: Starlette) -> Callable[[], Awaitable[Readiness]]:
    """What /readyz of the metrics port answers: the same as the page's own."""
    health: Health = app.state.health

    async def readiness() -> Readiness:
        states = await health.states()
        return Readiness(health.problem(states), states)

    return readiness
