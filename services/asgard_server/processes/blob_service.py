"""BlobService put together: the table of blobs, the store of their bytes, grants to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gimle.asgard.core.folder.layout import Layout
from gimle.asgard.core.folder.place import read_storage_id
from gimle.asgard.v1 import (
    blob_service_pb2,
    blob_service_pb2_grpc,
    grant_service_pb2,
    grant_service_pb2_grpc,
)

from asgard_server.blob.completing import Completer
from asgard_server.blob.folder_http import BytesEndpoint
from asgard_server.blob.handlers import BlobHandlers
from asgard_server.blob.keeping import Keeper
from asgard_server.blob.lately import Lately
from asgard_server.blob.lending import Lender
from asgard_server.blob.lending_handlers import GrantHandlers
from asgard_server.blob.store import Bytes, Grants
from asgard_server.blob.sweeping import Sweeper
from asgard_server.blob.uploading import Uploader
from asgard_server.processes.listening import BLOB_PORT
from asgard_server.processes.replica import Parts, Replica, replica
from asgard_server.processes.s3 import s3_place, s3_signer
from asgard_server.processes.sim_data_service import Local, open_sim_data
from asgard_server.processes.who import who_calls
from asgard_server.rpc.server import Service
from asgard_server.rpc.tracing import Tracer
from asgard_server.settings import S3Prefix, SettingError, Settings
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_grants import FolderGrants, secret_of
from asgard_server.store.postgres_blobs import PostgresBlobs
from asgard_server.store.postgres_jobs import PostgresJobs
from asgard_server.store.sql.session import Database
from asgard_server.store.sqlite_blobs import SqliteBlobs
from asgard_server.store.sqlite_database import SqliteDatabase
from asgard_server.store.sqlite_jobs import SqliteJobs

BLOB_SERVICE = blob_service_pb2.DESCRIPTOR.services_by_name["BlobService"].full_name

GRANT_SERVICE = grant_service_pb2.DESCRIPTOR.services_by_name["GrantService"].full_name

# Calls to the store, and requests that carry bytes of a folder, under way at a time.
_THREADS = 8

TABLES = "asgard.sqlite3"
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Blobs:
    """BlobService as a part of a process.

    With it come SimDataService, which shares its database, and what both do in the background:
    `work` is to be run beside them, and `stop` ends the watches of jobs. `endpoint`, where the
    bytes lie in a folder: what the URLs of its grants lead to, to be mounted where they say.
    `database` is where their tables are, and `file` that, where it is one that others of this
    process share.
    """

    services: tuple[Service, ...]
    work: Callable[[], Coroutine[Any, Any, None]]
    check: Callable[[], Coroutine[Any, Any, None]]
    stop: Callable[[], None]
    name: str
    endpoint: BytesEndpoint | None
    database: Database
    file: SqliteDatabase | None


@asynccontextmanager
async def open_blobs(
    settings: Settings, address: Callable[[], str] | None = None
) -> AsyncIterator[Blobs]:
    """Open BlobService over the engines of `settings`; they are closed when the block ends.

    `address` answers where this process serves the bytes of a folder. Raises
    `StorageUnavailableError`, and `SettingError` for a folder without an address.
    """
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "asgard-bytes"))
        opened = await _bytes(settings, pool, address, stack)
        held, grants = opened.held, opened.grants
        table, jobs, database, file = await _tables(settings, stack)
        sim_data = await open_sim_data(settings, jobs, opened.local, pool, stack)
        sweeper = Sweeper(table, table, held, _now)
        lately = Lately()
        handlers = BlobHandlers(
            Uploader(table, held, grants, _now, lately),
            Completer(table, held, _now, lately),
            Keeper(table, held, grants, _now),
        )
        add = blob_service_pb2_grpc.add_BlobServiceServicer_to_server

        async def check() -> None:
            await table.find(["a-blob-that-is-not-there"])
            await sim_data.check()
            await held.head("blobs/a-blob/that-is-not-there")

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(sweeper.run())
                group.create_task(sim_data.work())

        services = (
            Service(BLOB_SERVICE, add, handlers),
            _grant_service(opened),
            sim_data.service,
        )
        yield Blobs(
            *(services, work, check, sim_data.stop, opened.name, opened.endpoint),
            *(database, file),
        )


@asynccontextmanager
async def open_grants(settings: Settings) -> AsyncIterator[Service]:
    """GrantService alone, over S3: it lends what RunService's intents name, and needs no table."""
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "asgard-bytes"))
        opened = await _bytes(settings, pool, None, stack)
        yield _grant_service(opened)


def _grant_service(opened: _Opened) -> Service:
    add = grant_service_pb2_grpc.add_GrantServiceServicer_to_server
    return Service(GRANT_SERVICE, add, GrantHandlers(Lender(opened.held, opened.grants)))


@asynccontextmanager
async def blob_service(
    settings: Settings, *, tracer: Tracer | None = None
) -> AsyncIterator[Replica]:
    """BlobService over the engines of `settings`, served by gRPC until the block ends.

    Raises what `replica` and `open_blobs` do.
    """
    async with AsyncExitStack() as stack:
        blobs = await stack.enter_async_context(open_blobs(settings))
        who = who_calls(settings, stack)
        parts = Parts(
            name=blobs.name,
            services=blobs.services,
            authenticate=who.authenticate,
            depends_on="store",
            check=blobs.check,
            work=blobs.work,
            stop=blobs.stop,
        )
        yield await stack.enter_async_context(
            replica(settings, parts, usual_port=BLOB_PORT, tracer=tracer)
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """Where bytes lie, and how requests to there are granted."""

    held: Bytes
    grants: Grants
    name: str
    local: Local | None = None
    endpoint: BytesEndpoint | None = None


async def _bytes(
    settings: Settings,
    pool: ThreadPoolExecutor,
    address: Callable[[], str] | None,
    stack: AsyncExitStack,
) -> _Opened:
    storage = settings.storage
    if isinstance(storage, S3Prefix):
        from asgard_server.store.s3_bytes import S3Bytes
        from asgard_server.store.s3_grants import S3Grants

        place = await asyncio.to_thread(s3_place, settings, storage)
        signer, reading = await s3_signer(settings, _seconds, stack), None
        if settings.s3_proxy_base:
            # What is rewritten comes to a proxy that forwards the store's own Host.
            reading = await s3_signer(settings, _seconds, stack, own=True)
        grants = S3Grants(place, signer, reading=reading, rewrite=settings.rewritten)
        held = await asyncio.to_thread(S3Bytes, place, pool)
        stack.push_async_callback(held.close)
        return _Opened(held, grants, str(place))
    if address is None:
        raise SettingError(
            "ASGARD_STORAGE",
            f"is the folder {storage}, whose bytes only `asgard serve all` can serve",
            "give s3://bucket/prefix",
        )
    folder = await asyncio.to_thread(FolderBytes, storage, pool)
    await asyncio.to_thread(folder.tidy)
    with folder.speaking():
        secret = await asyncio.to_thread(secret_of, storage)
    signed = FolderGrants(secret, address, _now)
    local = Local(Path(storage), folder, signed)
    return _Opened(folder, signed, str(storage), local, BytesEndpoint(folder, signed))


async def _tables(
    settings: Settings, stack: AsyncExitStack
) -> (
    tuple[SqliteBlobs, SqliteJobs, Database, SqliteDatabase]
    | tuple[PostgresBlobs, PostgresJobs, Database, None]
):
    if settings.database_url is not None:
        from asgard_server.store import migrate
        from asgard_server.store.postgres_link import Link
        from asgard_server.store.sql.postgres import PostgresSessions

        link = await Link.open(
            settings.database_url,
            _CONNECTIONS,
            planned_once=True,
            by_index=True,
            search_path="asgard",
        )
        stack.push_async_callback(link.close)
        async with link.connection() as connection:
            await migrate.check(connection, link.place)
        return PostgresBlobs(link), PostgresJobs(link), PostgresSessions(link), None
    from asgard_server.store.sql.sqlite import SqliteSessions

    if isinstance(settings.storage, S3Prefix):
        raise SettingError(
            "ASGARD_DATABASE_URL",
            "is not set, and blobs in S3 need a database that outlives this machine",
            "give postgresql://user:password@host/database",
        )
    # A folder that is only looked at stays as it was.
    database = await SqliteDatabase.open(Path(settings.storage) / TABLES, when_written=True)
    stack.push_async_callback(database.close)
    layout = Layout(str(settings.storage))
    jobs = SqliteJobs(database, lambda: read_storage_id(layout) or "")
    return SqliteBlobs(database), jobs, SqliteSessions(database), database


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds() -> float:
    return _now().timestamp()
