"""A service in a process of its own: served by gRPC with health and probes, until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from asgard_server.auth.callers import Authenticate
from asgard_server.processes.health import Dependency
from asgard_server.processes.listening import in_url, listen, listen_grpc, url_of
from asgard_server.processes.metrics_server import Readiness, create_metrics_app
from asgard_server.processes.page_server import served
from asgard_server.processes.patience import once_engines_answer
from asgard_server.processes.saying import say_ready
from asgard_server.processes.signals import cancelled, first_to_end, stopped_by_signals
from asgard_server.processes.tls import certificates_of
from asgard_server.rpc.credentials import server_credentials
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import Settings


class Running(Protocol):
    """A service that runs: `drain` says NOT_SERVING, and what has begun is still finished."""

    @property
    def name(self) -> str:
        """What the place of its data is called."""

    @property
    def address(self) -> str:
        """Where it listens."""

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What runs beside it; it ends when one of them does."""

    @property
    def drain(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """Say NOT_SERVING from now on."""

    @property
    def readiness(self) -> Callable[[], Awaitable[Readiness]]:
        """What /readyz answers."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A service that runs, as `Running` says."""

    name: str
    address: str
    tasks: tuple[asyncio.Task[None], ...]
    drain: Callable[[], Coroutine[Any, Any, None]]
    readiness: Callable[[], Awaitable[Readiness]]


class Parts(NamedTuple):
    """What a replica is put together of.

    `name` is what the place of its data is called, `depends_on` what `check` asks for. `work` is
    run beside the services, `stop` ends their watches.
    """

    name: str
    services: Sequence[Service]
    authenticate: Authenticate
    depends_on: str
    check: Callable[[], Coroutine[Any, Any, None]]
    work: Callable[[], Coroutine[Any, Any, None]]
    stop: Callable[[], None]


@asynccontextmanager
async def replica(
    settings: Settings, parts: Parts, *, usual_port: int, tracer: Tracer | None = None
) -> AsyncIterator[Replica]:
    """Services served by gRPC until the block ends.

    Raises `PortBusyError`, `AddressError`, `CertificateError`.
    """
    certificates = certificates_of(settings)
    credentials = None if certificates is None else server_credentials(certificates)
    health = Health([each.name for each in parts.services])
    server = create_server(parts.services, health, tracer=tracer, authenticate=parts.authenticate)
    port = listen_grpc(server, settings.host, settings.grpc_port, credentials, usual=usual_port)
    watched = Dependency(parts.depends_on, parts.check, health)
    async with AsyncExitStack() as stack:
        await watched.look()
        await server.start()
        stack.push_async_callback(server.stop, settings.drain_seconds)
        tasks = (
            asyncio.create_task(parts.work(), name="work"),
            asyncio.create_task(watched.run(), name="dependency"),
        )
        stack.push_async_callback(cancelled, *tasks)

        async def drain() -> None:
            watched.drain()
            await health.stop()
            parts.stop()

        async def readiness() -> Readiness:
            return watched.readiness()

        address = f"{in_url(settings.host)}:{port}"
        yield Replica(parts.name, address, tasks, drain, readiness)


async def serve_and_say(
    settings: Settings,
    service: str,
    make: Callable[[], AbstractAsyncContextManager[Running]],
    keeps: str,
    place: str,
) -> None:
    """Serve what `make` makes until SIGTERM or SIGINT; say on standard output where, when it does.

    An engine that does not answer at the start is waited for, for `start_seconds` at most, while
    probes are answered. At the end NOT_SERVING is said, watchers are told to resume elsewhere, and
    calls that have begun are finished, for `drain_seconds` at most. `keeps` is what is said of its
    place, which machines are told as `place`. Raises what `make` does.
    """
    stopping = asyncio.Event()
    running: Running | None = None

    async def readiness() -> Readiness:
        if running is None:
            return Readiness("this process is starting", {})
        return await running.readiness()

    with (
        stopped_by_signals(stopping),
        listen(settings.host, settings.metrics_port, "--metrics-port") as listener,
    ):
        # Around the service, so that probes and Prometheus see its start and its drain.
        async with (
            served(create_metrics_app(readiness), listener),
            once_engines_answer(make, settings.start_seconds, stopping) as running,
        ):
            if running is None:  # asked to stop while it waited
                return
            metrics = f"{url_of(listener)}/metrics"
            words = (
                f"Asgard keeps {keeps}{running.name}\n"
                f"  gRPC           {running.address}\n"
                f"  metrics        {metrics}"
            )
            told = {"grpc": running.address, "metrics": metrics, place: running.name}
            say_ready(settings, service, words, **told)
            failed = await first_to_end(stopping, running.tasks)
            await running.drain()
        if failed is not None:
            raise failed
