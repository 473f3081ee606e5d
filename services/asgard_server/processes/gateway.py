"""The gateway put together: the page and REST over a channel to RunService."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

import grpc
from starlette.applications import Starlette

from asgard_server.gateway.app import GatewayOptions, create_app
from asgard_server.gateway.health import Health
from asgard_server.processes.metrics_server import Readiness
from asgard_server.processes.page_server import PageServer
from asgard_server.processes.signals import first_to_end
from asgard_server.processes.tls import certificates_of
from asgard_server.processes.who import Who
from asgard_server.rpc.channel import open_channel
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings

_SERVICE = "gimle.asgard.v1.RunService"
BLOB_SERVICE = "gimle.asgard.v1.BlobService"
SIM_DATA_SERVICE = "gimle.asgard.v1.SimDataService"
IDENTITY_SERVICE = "gimle.asgard.v1.IdentityService"
# Asked again elsewhere when a replica goes away under them: they change nothing.
_READING = ("GetRun", "ListRuns", "GetResult", "ListResults", "RenderResult")
_READING_BLOBS = ("GetBlob", "ListBlobs", "ListParts", "ReadBlob", "CreateDownloads")
_READING_IDENTITY = (
    *("GetMe", "ListScopes", "ListApiKeys", "GetUser", "ListUsers", "ListMembers"),
    *("GetOrganization", "ListOrganizations", "GetTeam", "ListTeams", "ResolvePrincipal"),
)
_READING_JOBS = ("GetJob", "ListJobs", "GetSimData", "GetReport", "GetSharedJob")

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                *({"service": _SERVICE, "method": method} for method in _READING),
                *({"service": BLOB_SERVICE, "method": method} for method in _READING_BLOBS),
                *({"service": SIM_DATA_SERVICE, "method": method} for method in _READING_JOBS),
                *({"service": IDENTITY_SERVICE, "method": method} for method in _READING_IDENTITY),
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A replica that comes back is to be used at once, also after a long outage.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # And so is a new one, as soon as a connection is lost.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A machine that vanishes says nothing. No more often than servers allow.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


def channel_to_run(settings: Settings) -> grpc.aio.Channel:
    """A channel to every replica of RunService that `run_address` names; nothing is called yet.

    Raises `CertificateError` when the certificates of `settings` cannot be used.
    """
    return open_channel(settings.run_address, certificates_of(settings), _CHANNEL_OPTIONS)


def channel_to_blob(settings: Settings) -> grpc.aio.Channel:
    """A channel to every replica of BlobService; else as `channel_to_run`."""
    return open_channel(settings.blob_address, certificates_of(settings), _CHANNEL_OPTIONS)


def channel_to_identity(settings: Settings) -> grpc.aio.Channel:
    """A channel to every replica of IdentityService; else as `channel_to_run`."""
    target = settings.identity_address or settings.run_address
    return open_channel(target, certificates_of(settings), _CHANNEL_OPTIONS)


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
            own=who.headers,
        ),
        others,
    )


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
    http.should_exit = True
    await serving
    return failed


def readiness_of(app: Starlette) -> Callable[[], Awaitable[Readiness]]:
    """What /readyz of the metrics port answers: the same as the page's own."""
    health: Health = app.state.health

    async def readiness() -> Readiness:
        states = await health.states()
        return Readiness(health.problem(states), states)

    return readiness
