"""`python -m asgard_server.run`, `asgard serve run`: RunService alone, as one of its replicas."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

from asgard_server.processes.run_service import run_service
from asgard_server.processes.signals import first_to_end, stopped_by_signals
from asgard_server.processes.starting import start
from asgard_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a replica that is ready can be found, and what it serves."""

    grpc: str
    storage: str


async def serve(
    settings: Settings,
    *,
    ready: Callable[[Addresses], None] | None = None,
    stopping: asyncio.Event | None = None,
) -> None:
    """Serve `settings.storage` by gRPC until SIGTERM, SIGINT or `stopping`.

    Then NOT_SERVING is said, watchers are told to resume elsewhere, and calls that have begun
    are finished, for `drain_seconds` at most. Raises what `run_service` does.
    """
    stopping = stopping or asyncio.Event()
    with stopped_by_signals(stopping):
        async with run_service(settings, else_any_port=False) as service:
            if ready is not None:
                ready(Addresses(service.address, service.name))
            failed = await first_to_end(stopping, service.tasks)
            await service.drain()
        if failed is not None:
            raise failed


async def serve_and_say(settings: Settings) -> None:
    """Serve, and say on standard output where, as soon as it is ready."""

    def ready(addresses: Addresses) -> None:
        print(f"Asgard keeps {addresses.storage}\n  gRPC           {addresses.grpc}", flush=True)

    await serve(settings, ready=ready)


if __name__ == "__main__":
    sys.exit(start(serve_and_say))
