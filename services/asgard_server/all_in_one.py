"""The embedded shape: all services and the page in one process.

Calls between the page's gateway and the services are gRPC as everywhere, over an abstract
Unix socket.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from gimle.asgard.core.errors import StorageReadOnlyError, StorageUnavailableError
from gimle.asgard.core.folder.layout import Layout
from gimle.asgard.core.folder.place import read_storage_id

from asgard_server.processes.asset_service import (
    AssetParts,
    Elsewhere,
    open_assets,
    tables_of,
)
from asgard_server.processes.bell import open_bell
from asgard_server.processes.blob_service import Blobs, open_blobs, open_grants
from asgard_server.processes.identity_service import Identity, open_identity
from asgard_server.processes.listening import AddressError, PortBusyError, listen, url_of
from asgard_server.processes.run_service import (
    RunService,
    address_inside,
    channel_inside,
    run_service,
)
from asgard_server.processes.signals import cancelled, stopped_by_signals
from asgard_server.processes.who import Who
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import SettingError, Settings

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
        async with AsyncExitStack() as stack:
            inside = address_inside()
            blobs = await _blobs(settings, lambda: url_of(listener), stack)
            identity = _identity(settings, blobs)
            who = identity[0].who if identity else Who()
            assets = [await _assets(settings, each, inside, who, stack) for each in blobs]
            parts: list[Blobs | AssetParts] = [*blobs, *assets]
            beside = [one for each in parts for one in each.services]
            beside += [each.service for each in identity]
            if not settings.can_keep_blobs:
                # Runs and results need no table for their large arrays to go straight to S3.
                beside.append(await stack.enter_async_context(open_grants(settings)))
            service = await stack.enter_async_context(
                run_service(settings, beside=beside, inside=inside, who=who, tracer=tracer)
            )
            # Not before: the gRPC side does not wait for it.
            from asgard_server.processes.gateway import gateway_app, serve_page

            def up() -> None:
                if ready is not None:
                    ready(Addresses(url_of(listener), service.address, service.name))

            app = gateway_app(
                _that_signs_in(settings),
                service.channel,
                storage_id=service.storage_id,
                tracer=tracer,
                who=who,
            )
            for each in blobs:
                if each.endpoint is not None:
                    app.router.routes.append(each.endpoint.route())

            async def drain() -> None:
                await service.drain()
                for each in parts:
                    each.stop()

            sweeping = [asyncio.create_task(each.work()) for each in parts]
            failed = await serve_page(
                app,
                listener,
                drain_seconds=settings.drain_seconds,
                stopping=stopping,
                beside=(*service.tasks, *sweeping),
                ready=up,
                on_stop=drain,
            )
            await cancelled(*sweeping)
        if failed is not None:
            raise failed


def _that_signs_in(settings: Settings) -> Settings:
    """With a key that seals sessions: one of its own where none is set, good until it stops."""
    if settings.session_key or settings.oidc_client_id is not None:
        return settings
    return replace(settings, session_key=(secrets.token_urlsafe(32),))


def _identity(settings: Settings, blobs: list[Blobs]) -> list[Identity]:
    """IdentityService, where there is a database: beside the tables of blobs.

    Raises `SettingError` where everybody must say who they are and nobody would know.
    """
    if not blobs and settings.auth == "required":
        raise SettingError(
            "ASGARD_AUTH",
            "is required, and there is no database of users and keys",
            "give a folder that can be written, or ASGARD_DATABASE_URL",
        )
    return [open_identity(settings, each.database, inside=True) for each in blobs]


def _is_no_place(settings: Settings) -> bool:
    """Whether the storage cannot be one: RunService says why, and how that is mended."""
    if not isinstance(settings.storage, Path):
        return False
    try:
        read_storage_id(Layout(str(settings.storage)))
    except StorageUnavailableError:  # of a newer format, say: nothing is made in it
        return True
    return settings.storage.is_file()


async def _blobs(
    settings: Settings, address: Callable[[], str], stack: AsyncExitStack
) -> list[Blobs]:
    """BlobService, where its table has a home; runs and results do without."""
    if not settings.can_keep_blobs or _is_no_place(settings):
        return []
    try:
        return [await stack.enter_async_context(open_blobs(settings, address))]
    except (StorageUnavailableError, StorageReadOnlyError) as error:
        if settings.database_url is not None:
            raise
        # A folder that may only be read is still shown.
        structlog.get_logger("asgard.blob").warning("blobs are not served", error=str(error))
        return []


async def _assets(
    settings: Settings, blobs: Blobs, inside: str, who: Who, stack: AsyncExitStack
) -> AssetParts:
    """AssetService, where BlobService is: its tables are in the same file, or in the database."""
    tables = await tables_of(settings, blobs.file, stack)
    feed, _ = open_bell(settings, stack, measured=False)
    channel = channel_inside(inside)
    stack.push_async_callback(channel.close)
    here = Elsewhere(who.signed(channel), "this process")
    return open_assets(settings, tables, here, here, feed)
