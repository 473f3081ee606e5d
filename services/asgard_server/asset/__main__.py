"""`python -m asgard_server.asset`, `asgard serve asset`: AssetService alone, as a replica."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

from asgard_server.processes.asset_service import AssetService, asset_service
from asgard_server.processes.listening import listen, url_of
from asgard_server.processes.metrics_server import Readiness, create_metrics_app
from asgard_server.processes.page_server import served
from asgard_server.processes.patience import once_engines_answer
from asgard_server.processes.saying import say_ready
from asgard_server.processes.signals import first_to_end, stopped_by_signals
from asgard_server.processes.starting import start
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a replica that is ready can be found, and where its assets are kept."""

    grpc: str
    metrics: str
    database: str


async def serve(
    settings: Settings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    stopping: asyncio.Event | None = None,
    tracer: Tracer | None = None,
) -> None:
    """Serve the assets of `settings.database_url` by gRPC until SIGTERM, SIGINT or `stopping`.

    BlobService need not be there: what needs it says so until it is. At the end NOT_SERVING is
    said, and calls that have begun are finished, for `drain_seconds` at most. Raises what
    `asset_service` does.
    """
    stopping = stopping or asyncio.Event()
    running: AssetService | None = None

    async def readiness() -> Readiness:
        if running is None:
            return Readiness("this process is starting", {})
        return running.readiness()

    with (
        stopped_by_signals(stopping),
        listen(settings.host, settings.metrics_port, "--metrics-port") as listener,
    ):
        async with (
            served(create_metrics_app(readiness), listener),
            once_engines_answer(
                lambda: asset_service(settings, tracer=tracer),
                settings.start_seconds,
                stopping,
            ) as running,
        ):
            if running is None:  # asked to stop while it waited
                return
            if ready is not None:
                ready(Addresses(running.address, url_of(listener), running.name))
            failed = await first_to_end(stopping, running.tasks)
            await running.drain()
        if failed is not None:
            raise failed


async def serve_and_say(settings: Settings, tracer: Tracer | None = None) -> None:
    """Serve, and say on standard output where, as soon as it is ready."""

    def ready(addresses: Addresses) -> None:
        say_ready(
            settings,
            "asset",
            f"Asgard keeps the assets of {addresses.database}\n"
            f"  gRPC           {addresses.grpc}\n"
            f"  metrics        {addresses.metrics}/metrics",
            grpc=addresses.grpc,
            metrics=f"{addresses.metrics}/metrics",
            database=addresses.database,
        )

    await serve(settings, ready=ready, tracer=tracer)


if __name__ == "__main__":
    sys.exit(start(serve_and_say, service="asset"))
