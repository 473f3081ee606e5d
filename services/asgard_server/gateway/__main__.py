"""`python -m asgard_server.gateway`, `asgard serve gateway`: the page and REST alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import REGISTRY

from asgard_server.processes.channels import (
    ASSET_SERVICE,
    BLOB_SERVICE,
    EXPERIMENT_SERVICE,
    IDENTITY_SERVICE,
    SIM_DATA_SERVICE,
    channel_to_asset,
    channel_to_blob,
    channel_to_run,
)
from asgard_server.processes.gateway import gateway_app, readiness_of, serve_page
from asgard_server.processes.listening import listen, url_of
from asgard_server.processes.metrics_server import create_metrics_app
from asgard_server.processes.page_server import served
from asgard_server.processes.saying import say_ready
from asgard_server.processes.signals import stopped_by_signals
from asgard_server.processes.starting import start
from asgard_server.processes.who import who_calls
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a gateway that is ready can be found, and where it finds RunService."""

    page: str
    metrics: str
    run: str


async def serve(
    settings: Settings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    stopping: asyncio.Event | None = None,
    tracer: Tracer | None = None,
) -> None:
    """Serve the page and REST until SIGTERM, SIGINT or `stopping`.

    RunService need not be there: what needs it says so until it is. A stop ends event streams,
    whose browsers come back to another gateway, and finishes requests that have begun, for
    `drain_seconds` at most. Raises `PortBusyError`, `AddressError`.
    """
    stopping = stopping or asyncio.Event()
    with (
        stopped_by_signals(stopping),
        listen(settings.host, settings.port, "--port") as listener,
        listen(settings.host, settings.metrics_port, "--metrics-port") as probed,
    ):
        async with AsyncExitStack() as stack:
            who = who_calls(settings, stack)
            channel = await stack.enter_async_context(channel_to_run(settings))
            to_blob = await stack.enter_async_context(channel_to_blob(settings))
            to_asset = await stack.enter_async_context(channel_to_asset(settings))
            others = {
                BLOB_SERVICE: to_blob,
                SIM_DATA_SERVICE: to_blob,
                ASSET_SERVICE: to_asset,
                EXPERIMENT_SERVICE: to_asset,
                IDENTITY_SERVICE: to_asset,
            }
            app = gateway_app(
                settings, channel, others=others, shows_metrics=False, tracer=tracer, who=who
            )
            numbers = (app.state.registry, REGISTRY)

            def up() -> None:
                if ready is not None:
                    ready(Addresses(url_of(listener), url_of(probed), settings.run_address))

            async with served(create_metrics_app(readiness_of(app), numbers), probed):
                failed = await serve_page(
                    app,
                    listener,
                    drain_seconds=settings.drain_seconds,
                    stopping=stopping,
                    ready=up,
                )
        if failed is not None:
            raise failed


async def serve_and_say(settings: Settings, tracer: Tracer | None = None) -> None:
    """Serve, and say on standard output where, as soon as it is ready."""

    def ready(addresses: Addresses) -> None:
        say_ready(
            settings,
            "gateway",
            f"Asgard shows the runs of {addresses.run}\n"
            f"  page and REST  {addresses.page}\n"
            f"  metrics        {addresses.metrics}/metrics",
            page=addresses.page,
            metrics=f"{addresses.metrics}/metrics",
            run=addresses.run,
        )

    await serve(settings, ready=ready, tracer=tracer)


if __name__ == "__main__":
    sys.exit(start(serve_and_say, service="gateway"))
