"""RunService put together: over engines, served by gRPC."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import grpc
from gimle.asgard.v1 import grant_service_pb2, run_service_pb2, run_service_pb2_grpc

from asgard_server.processes.channels import IDENTITY_SERVICE, channel_to
from asgard_server.processes.engines import open_engines
from asgard_server.processes.health import Dependencies
from asgard_server.processes.listening import in_url, listen_grpc
from asgard_server.processes.metrics_server import Readiness
from asgard_server.processes.signals import cancelled
from asgard_server.processes.tls import certificates_of
from asgard_server.processes.who import Who, who_calls
from asgard_server.rpc.credentials import server_credentials
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.rpc.tracing import Tracer
from asgard_server.run.arriving import Arriving
from asgard_server.run.drawing import Drawing
from asgard_server.run.granting import Granting
from asgard_server.run.grants import Grants
from asgard_server.run.handlers import RunHandlers
from asgard_server.run.naming import Names, nobody_knows
from asgard_server.run.observe import Observer
from asgard_server.run.scan import Noticer
from asgard_server.run.sweeping import Sweeper
from asgard_server.run.uploads import Uploads
from asgard_server.run.watch import RunWatch
from asgard_server.settings import S3Prefix, Settings
from asgard_server.store.rpc_grants import NoGrants, RpcGrants
from asgard_server.store.rpc_names import RpcNames

GRANT_SERVICE = grant_service_pb2.DESCRIPTOR.services_by_name["GrantService"].full_name
RUN_SERVICE = run_service_pb2.DESCRIPTOR.services_by_name["RunService"].full_name


_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class RunService:
    """RunService as it runs in this process.

    `name` is what its place of documents is called. `channel` leads to it from within the
    process. `reconciled` waits until the index has once agreed with all documents, `drain`
    says NOT_SERVING and ends watches: what has begun otherwise is still finished.
    """

    name: str
    storage_id: str
    address: str
    channel: grpc.aio.Channel
    dependencies: Dependencies
    tasks: tuple[asyncio.Task[None], ...]
    reconciled: Callable[[], Coroutine[Any, Any, None]]
    drain: Callable[[], Coroutine[Any, Any, None]]

    @property
    def readiness(self) -> Callable[[], Awaitable[Readiness]]:
        """What /readyz answers."""
        return self.dependencies.readiness


@asynccontextmanager
async def run_service(
    settings: Settings,
    *,
    beside: Sequence[Service] = (),
    inside: str = "",
    else_any_port: bool = True,
    who: Who | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[RunService]:
    """RunService over the engines of `settings`, served by gRPC until the block ends.

    Other services may be served `beside` it, from the same port; they reach each other by the
    address `inside`, one of `address_inside`, which nobody else finds. `else_any_port`: where the
    usual port is taken, a free one will do. `who` finds out who calls; unless it is given, as
    settings say. With a `tracer`, each call is a span. Raises `PortBusyError`, `AddressError`,
    `CertificateError`, `SettingError` and what `open_engines` does.
    """
    certificates = certificates_of(settings)
    credentials = None if certificates is None else server_credentials(certificates)
    async with AsyncExitStack() as stack:
        who = who or who_calls(settings, stack)
        drawers = stack.enter_context(Drawing())
        engines = await stack.enter_async_context(open_engines(settings))
        observer = Observer(engines.index, engines.feed)
        watch = RunWatch(engines.index, engines.feed, _now)
        noticer = Noticer(engines.documents, engines.index, observer)
        inside = inside or address_inside()
        channel = channel_inside(inside)
        stack.push_async_callback(channel.close)
        near = _Near(frozenset(service.name for service in beside), channel)
        grants = _grants(settings, near, who, stack)
        intents, documents = engines.intents, engines.documents
        sweeper = Sweeper(grants, intents, documents, _now)
        handlers = RunHandlers(
            engines.documents,
            engines.index,
            observer,
            watch,
            drawers,
            _now,
            Granting(grants, intents, documents, engines.index, _now),
            Arriving(grants, intents, sweeper, _now),
            _uploads(settings),
            engines.creating,
            _names(settings, near, who, stack),
        )
        add = run_service_pb2_grpc.add_RunServiceServicer_to_server
        services = [Service(RUN_SERVICE, add, handlers), *beside]
        health = Health([service.name for service in services])
        server = create_server(services, health, tracer=tracer, authenticate=who.authenticate)
        server.add_insecure_port(inside)
        port = listen_grpc(
            server, settings.host, settings.grpc_port, credentials, else_any=else_any_port
        )
        dependencies = Dependencies(engines, noticer, health)
        await dependencies.look()
        await server.start()
        stack.push_async_callback(server.stop, settings.drain_seconds)
        works = {
            "watch": watch.run(),
            "noticer": noticer.run(),
            "dependencies": dependencies.run(),
            "sweeper": sweeper.run(),
        }
        if engines.finishing is not None:
            works["finishing"] = engines.finishing(observer.observe)
        tasks = tuple(asyncio.create_task(work, name=name) for name, work in works.items())
        stack.push_async_callback(cancelled, *tasks)

        async def drain() -> None:
            dependencies.drain()
            await health.stop()
            watch.stop()

        yield RunService(
            name=engines.name,
            storage_id=engines.storage_id,
            address=f"{in_url(settings.host)}:{port}",
            channel=channel,
            dependencies=dependencies,
            tasks=tasks,
            reconciled=noticer.reconciled,
            drain=drain,
        )


def address_inside() -> str:
    """An address by which services of this process reach each other."""
    return f"unix-abstract:asgard-{os.getpid()}-{secrets.token_hex(8)}"


def channel_inside(address: str) -> grpc.aio.Channel:
    """A channel to the services of this process; nothing is called yet."""
    return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)


def _now() -> datetime:
    return datetime.now(UTC)


class _Near(NamedTuple):
    """The services beside this one, and the channel that leads to them."""

    services: frozenset[str]
    channel: grpc.aio.Channel


def _grants(settings: Settings, near: _Near, who: Who, stack: AsyncExitStack) -> Grants:
    """Who lends requests to the store."""
    elsewhere = settings.blob_address if isinstance(settings.storage, S3Prefix) else None
    found = _found(settings, GRANT_SERVICE, near, elsewhere, who, stack)
    return NoGrants() if found is None else RpcGrants(*found)


def _names(settings: Settings, near: _Near, who: Who, stack: AsyncExitStack) -> Names:
    """Who knows handles."""
    found = _found(settings, IDENTITY_SERVICE, near, settings.identity_address, who, stack)
    return nobody_knows if found is None else RpcNames(*found)


def _found(
    settings: Settings,
    service: str,
    near: _Near,
    elsewhere: str | None,
    who: Who,
    stack: AsyncExitStack,
) -> tuple[grpc.aio.Channel, str] | None:
    """The channel to a service, beside this one or else at an address, and what its place is
    called; None where there is none.
    """
    if service in near.services:
        return who.signed(near.channel), "this process"
    if elsewhere is None:
        return None
    channel = channel_to(settings, elsewhere)
    stack.push_async_callback(channel.close)
    return who.signed(channel), elsewhere


def _uploads(settings: Settings) -> Uploads:
    """Where arrays on their way lie: on the disk they are for, as temporaries may be in memory."""
    if isinstance(settings.storage, S3Prefix):
        return Uploads()
    return Uploads(str(settings.storage / "files"))
