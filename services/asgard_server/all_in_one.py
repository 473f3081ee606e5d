"""The embedded shape: RunService and the page in one process.

Calls between the page's gateway and the service are gRPC as everywhere, over an abstract
Unix socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from asgard_server.processes.listening import AddressError, PortBusyError, listen, url_of
from asgard_server.processes.run_service import RunService, run_service
from asgard_server.processes.signals import stopped_by_signals
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings

__all__ = ["AddressError", "Addresses", "PortBusyError", "RunService", "run_service", "serve"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a server that is ready can be found, and what it serves."""

    page: str
    grpc: str
    storage: str


async def serve(
    settings: Settings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    stopping: asyncio.Event | None = None,
    tracer: Tracer | None = None,
) -> None:
    """Serve `settings.storage` until SIGTERM, SIGINT or `stopping`.

    Then calls that have begun are finished, for `drain_seconds` at most. Raises
    `PortBusyError`, `AddressError` and `StorageUnavailableError` before anything is served.
    """
    stopping = stopping or asyncio.Event()
    with stopped_by_signals(stopping), listen(settings.host, settings.port, "--port") as listener:
        async with run_service(settings, tracer=tracer) as service:
            # Not before: the gRPC side does not wait for it.
            from asgard_server.processes.gateway import gateway_app, serve_page

            def up() -> None:
                if ready is not None:
                    ready(Addresses(url_of(listener), service.address, service.name))

            app = gateway_app(
                settings, service.channel, storage_id=service.storage_id, tracer=tracer
            )
            failed = await serve_page(
                app,
                listener,
                drain_seconds=settings.drain_seconds,
                stopping=stopping,
                beside=service.tasks,
                ready=up,
                on_stop=service.drain,
            )
        if failed is not None:
            raise failed
