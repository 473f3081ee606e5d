"""The gateway as one ASGI application: everything of it meets here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from asgard_server.gateway import schema
from asgard_server.gateway.decode import Decoders
from asgard_server.gateway.documented import Documented
from asgard_server.gateway.door import Door, OfClient
from asgard_server.gateway.encode import Encoders
from asgard_server.gateway.event_stream import Streams
from asgard_server.gateway.followed import ASSETS, JOBS, RUNS, followed
from asgard_server.gateway.guard import Guard
from asgard_server.gateway.health import Health
from asgard_server.gateway.jobs import LIST, JobEndpoints, in_their_words
from asgard_server.gateway.metrics import Metrics
from asgard_server.gateway.openapi import document
from asgard_server.gateway.pages import STATIC, Pages
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Routes
from asgard_server.gateway.sign_in.endpoints import SignIn, SignInEndpoints
from asgard_server.gateway.sign_in.sessions import Sessions
from asgard_server.gateway.transcode import Translation, open_templates, routes
from asgard_server.gateway.updates import Updates
from asgard_server.rpc.channel import SignedChannel
from asgard_server.rpc.requests import Metadata
from asgard_server.rpc.tracing import Tracer


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a gateway is set up.

    `allowed_hosts`: names it may be called by beside localhost, with or without a
    port; `*` allows any. `cache_seconds`: how long /api/runs is kept, 0 for not at
    all. `keep_alive_seconds`: how long an event stream is silent before a comment is
    sent. `storage_id` and `version` are told by /healthz. `static_folder` holds the
    built page. `shows_metrics`: whether /metrics is among its paths. With a `tracer`,
    each request is a span. `of_client` says who shows a header Authorization, where
    everybody is asked; `own` is what services know the gateway by. `of_known` says who shows a key
    that is known where nobody has to. `sign_in` is how browsers sign in, where they do.
    """

    allowed_hosts: tuple[str, ...] = ()
    cache_seconds: float = 3.0
    keep_alive_seconds: float = 15.0
    max_body_bytes: int = 64 << 20
    storage_id: str = ""
    version: str = ""
    static_folder: Path = STATIC
    shows_metrics: bool = True
    tracer: Tracer | None = None
    of_client: OfClient | None = None
    own: Metadata = ()
    of_known: OfClient | None = None
    sign_in: SignIn | None = None
    asks: bool = False


class Dispatch:
    """Finds the handler of a request and sends what it answers."""

    def __init__(self, table: Routes) -> None:
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that the guard has let through. Raises `Problem`."""
        request: Request = scope["asgard.request"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.partition(b"?")[0].decode("latin-1")
        scope["asgard.route"], handler = self._table.find(request, path)
        response = await handler(request)
        await response(scope, receive, send)


def create_app(
    channel: grpc.aio.Channel,
    options: GatewayOptions,
    others: Mapping[str, grpc.aio.Channel] | None = None,
) -> Starlette:
    """Make the gateway over a channel to RunService.

    `others` are the channels to services elsewhere, by their full names.
    `app.state.registry` holds its metrics, for whoever shows them elsewhere. Its
    lifespan follows the service's changes; `app.state.stop_streams()` ends all
    event streams and is to be called as soon as the server begins to stop, because a
    server that waits for its connections would wait for them for ever.
    """
    streams, metrics = Streams(options.keep_alive_seconds), Metrics()
    encoders, decoders = Encoders(), Decoders()
    described = schema.asgard_schema()
    elsewhere = others or {}
    sessions = _sessions(options.sign_in)
    of_cookie = None if sessions is None else sessions.shown
    door = Door(options.of_client, options.own, of_cookie, asks=options.asks)
    asks = {
        service: _signed(elsewhere.get(service, channel), options)
        for service in (RUNS, JOBS, ASSETS)
    }
    logs = followed(asks)
    updates = Updates(logs, streams)
    health = Health(channel, options.storage_id, options.version, stopping=lambda: streams.closing)
    documented = Documented(
        *(channel, asks[RUNS], encoders, updates, streams, options.cache_seconds),
        None if options.of_known is None else Door(options.of_known, options.own),
    )
    translation = Translation(
        lambda service: elsewhere.get(service, channel),
        encoders,
        decoders,
        streams,
        options.max_body_bytes,
        updates.changed,
    )
    metrics.gauge("asgard_sse_clients", "Event streams open now.", lambda: len(streams))
    metrics.gauge("asgard_gateway_replay_entries", "Events kept.", lambda: len(updates.ring))
    metrics.gauge(
        "asgard_gateway_watch_connected", "1 while changes are followed.", lambda: updates.connected
    )
    metrics.gauges(
        "asgard_gateway_log_connected",
        "1 while the changes of this log are followed.",
        "log",
        {log.name: partial(getattr, log, "connected") for log in logs},
    )

    pages = Pages(options.static_folder)
    table = Routes(fallback=pages.file)
    jobs = JobEndpoints(elsewhere.get(JOBS, channel), described.rpcs, encoders, decoders)
    for_everybody = {*open_templates(described.rpcs), *jobs.for_everybody()}
    for verb, template, handler in (
        *routes(described.rpcs, translation),
        *documented.routes(),
        *jobs.routes(),
    ):
        let_in = door.opened if template in for_everybody else door.guarded
        entered = let_in(handler)
        if template.startswith(LIST):
            entered = in_their_words(entered)
        table.add(verb, template, entered)
    for verb, template, handler in pages.routes():
        table.add(verb, template, handler)
    for verb, template, handler in SignInEndpoints(door, options.sign_in, sessions).routes():
        table.add(verb, template, handler)
    table.add("GET", "/healthz", health.healthz)
    table.add("GET", "/readyz", health.readyz)
    if options.shows_metrics:
        table.add("GET", "/metrics", metrics.show)
    table.add("GET", "/openapi.json", document.endpoint(described, options.version, asks=door.asks))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(updates.run()), asyncio.ensure_future(updates.beat())]
        try:
            yield
        finally:
            streams.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    guard = Middleware(
        Guard, allowed_hosts=options.allowed_hosts, metrics=metrics, tracer=options.tracer
    )
    app = Starlette(middleware=[guard], lifespan=lifespan)
    # Not a route: Starlette's patterns do not match a path with a line break in it.
    app.router.default = Dispatch(table)
    app.state.stop_streams = streams.close
    app.state.health = health
    app.state.registry = metrics.registry
    return app


def _sessions(sign_in: SignIn | None) -> Sessions | None:
    if sign_in is None:
        return None
    return Sessions(sign_in.keys, sign_in.party, hours=sign_in.hours)


def _signed(channel: grpc.aio.Channel, options: GatewayOptions) -> grpc.aio.Channel:
    """The channel by which the gateway asks for itself."""
    return SignedChannel(channel, options.own) if options.own else channel
