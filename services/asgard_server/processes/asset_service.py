"""AssetService put together: its tables, who keeps its bytes, what it does in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import grpc
from gimle.asgard.v1 import asset_service_pb2, asset_service_pb2_grpc

from asgard_server.asset.finding import Finder
from asgard_server.asset.finishing import Finisher
from asgard_server.asset.flagging import Flagger
from asgard_server.asset.handlers import AssetHandlers
from asgard_server.asset.keeping import Keeper
from asgard_server.asset.listing import Lists
from asgard_server.asset.releasing import releasing
from asgard_server.asset.sharing import Sharer
from asgard_server.asset.store import Turns
from asgard_server.asset.sweeping import Sweeper
from asgard_server.asset.telling import bell
from asgard_server.asset.trimming import keep_trimmed
from asgard_server.asset.watch import AssetWatch
from asgard_server.feed.feed import Feed
from asgard_server.outbox.delivery import Delivery
from asgard_server.processes.bell import open_bell
from asgard_server.processes.channels import channel_to_blob, channel_to_run
from asgard_server.processes.experiment_service import open_experiments
from asgard_server.processes.identity_service import open_identity
from asgard_server.processes.listening import ASSET_PORT
from asgard_server.processes.replica import Parts, Replica, replica
from asgard_server.rpc.server import Service
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import SettingError, Settings
from asgard_server.store.rpc_blobs import RpcBlobs
from asgard_server.store.sql import asset_log
from asgard_server.store.sql.asset_news import SqlLog
from asgard_server.store.sql.asset_upkeep import LinkTurns, OwnTurns, SqlUpkeep
from asgard_server.store.sql.asset_versions import SqlVersions
from asgard_server.store.sql.assets import SqlAssets
from asgard_server.store.sql.audits import SqlAudit
from asgard_server.store.sql.finding import SqlFinding
from asgard_server.store.sql.flags import SqlFlags
from asgard_server.store.sql.outbox import SqlOutbox
from asgard_server.store.sql.session import Database
from asgard_server.store.sql.sharing import SqlSharing
from asgard_server.store.sql.sqlite import SqliteSessions
from asgard_server.store.sqlite_database import SqliteDatabase

ASSET_SERVICE = asset_service_pb2.DESCRIPTOR.services_by_name["AssetService"].full_name

_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Tables:
    """Where assets are kept, what that is called, and how replicas take turns."""

    database: Database
    turns: Turns
    place: str


class Elsewhere(NamedTuple):
    """Another service: the channel that leads there, and what the place is called."""

    channel: grpc.aio.Channel
    place: str


@dataclass(frozen=True, slots=True)
class AssetParts:
    """AssetService and ExperimentService as a part of a process.

    `work` is to be run beside it, and `stop` ends the watches.
    """

    services: tuple[Service, ...]
    work: Callable[[], Coroutine[Any, Any, None]]
    check: Callable[[], Coroutine[Any, Any, None]]
    stop: Callable[[], None]


def open_assets(
    settings: Settings, tables: Tables, to_blobs: Elsewhere, to_runs: Elsewhere, feed: Feed
) -> AssetParts:
    """AssetService and ExperimentService over their tables, with the services they ask."""

    async def head() -> int:
        return (await tables.database.look(asset_log.head))[1]

    told = bell(head, feed)

    async def told_and_left() -> None:
        # Who may read the runs of an experiment does not wait for the next second.
        delivery.wake()
        await told()

    assets, upkeep = SqlAssets(tables.database), SqlUpkeep(tables.database)
    blobs = RpcBlobs(*to_blobs)
    remember = timedelta(days=settings.changes_kept_days)
    sweeper = Sweeper(assets, upkeep, tables.turns, _now, told, remember=remember)
    experiments = open_experiments(tables.database, tables.turns, *to_runs, told_and_left)
    delivery = Delivery(
        SqlOutbox(tables.database),
        tables.turns,
        _now,
        {"blobs.release": releasing(blobs), **experiments.receivers},
    )
    log = SqlLog(tables.database)
    watch = AssetWatch(log, feed)
    handlers = AssetHandlers(
        Keeper(assets, blobs, _now, told),
        Finisher(assets, blobs, _now, told),
        Lists(assets, SqlVersions(tables.database), _now, told),
        Sharer(SqlSharing(tables.database), _now, told),
        Flagger(SqlFlags(tables.database), _now, told),
        Finder(SqlFinding(tables.database)),
        SqlAudit(tables.database),
        watch,
        _now,
    )

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sweeper.run())
            group.create_task(delivery.run())
            group.create_task(experiments.work())
            group.create_task(watch.run())
            group.create_task(keep_trimmed(log, settings.changes_kept))

    async def check() -> None:
        await head()

    add = asset_service_pb2_grpc.add_AssetServiceServicer_to_server
    services = (Service(ASSET_SERVICE, add, handlers), experiments.service)
    return AssetParts(services, work, check, watch.stop)


async def tables_of(
    settings: Settings, file: SqliteDatabase | None, stack: AsyncExitStack
) -> Tables:
    """Where assets are kept: in PostgreSQL, or in the file of an embedded server's tables.

    Raises `StorageUnavailableError`, and `SettingError` where there is neither.
    """
    if file is not None:
        return Tables(SqliteSessions(file), OwnTurns(), str(file))
    if settings.database_url is None:
        raise SettingError(
            "ASGARD_DATABASE_URL",
            "is not set, and replicas of AssetService share a database",
            "give postgresql://user:password@host/database, or use `asgard serve all`",
        )
    from asgard_server.store import migrate
    from asgard_server.store.postgres_link import Link
    from asgard_server.store.sql.postgres import PostgresSessions

    link = await Link.open(
        settings.database_url, _CONNECTIONS, planned_once=True, by_index=True, search_path="asgard"
    )
    stack.push_async_callback(link.close)
    async with link.connection() as connection:
        await migrate.check(connection, link.place)
    return Tables(PostgresSessions(link), LinkTurns(link), link.place)


@asynccontextmanager
async def asset_service(
    settings: Settings, *, tracer: Tracer | None = None
) -> AsyncIterator[Replica]:
    """AssetService over the engines of `settings`, served by gRPC until the block ends.

    Raises what `replica` and `tables_of` do.
    """
    async with AsyncExitStack() as stack:
        tables = await tables_of(settings, None, stack)
        feed, _ = open_bell(settings, stack)
        identity = open_identity(settings, tables.database)
        blobs, runs = channel_to_blob(settings), channel_to_run(settings)
        for channel in (blobs, runs):
            stack.push_async_callback(channel.close)
        to_blobs = Elsewhere(identity.who.signed(blobs), settings.blob_address)
        to_runs = Elsewhere(identity.who.signed(runs), settings.run_address)
        assets = open_assets(settings, tables, to_blobs, to_runs, feed)
        parts = Parts(
            name=tables.place,
            services=(*assets.services, identity.service),
            authenticate=identity.who.authenticate,
            depends_on="database",
            check=assets.check,
            work=assets.work,
            stop=assets.stop,
        )
        yield await stack.enter_async_context(
            replica(settings, parts, usual_port=ASSET_PORT, tracer=tracer)
        )


def _now() -> datetime:
    return datetime.now(UTC)
