"""The homes of blobs that tests compare: a folder behind a real HTTP server, MinIO, versitygw."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from asgard_server.blob import limits, parts
from asgard_server.blob.completing import Completer
from asgard_server.blob.folder_http import BytesEndpoint
from asgard_server.blob.holdings import Holdings
from asgard_server.blob.keeping import Keeper
from asgard_server.blob.lately import Lately
from asgard_server.blob.store import Bytes, Grant, Grants
from asgard_server.blob.sweeping import Sweeper
from asgard_server.blob.uploading import Uploader
from asgard_server.processes.page_server import PageServer
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_grants import FolderGrants, secret_of
from asgard_server.store.folder_holdings import FolderHoldings
from asgard_server.store.postgres_blobs import PostgresBlobs
from asgard_server.store.postgres_link import Link
from asgard_server.store.s3_bytes import S3Bytes
from asgard_server.store.s3_grants import S3Grants
from asgard_server.store.s3_holdings import S3Holdings
from asgard_server.store.sqlite_blobs import SqliteBlobs
from asgard_server.store.sqlite_database import SqliteDatabase
from gimle.asgard.core.s3.place import parse_url
from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from starlette.applications import Starlette

from tests.engines import minio, postgres, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
HOMES = ("folder", *STORES)


def known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the whole process know the store of a home, and its keys, as operators' variables do."""
    if name == "folder":
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    for variable, value in STORES[name]().variables.items():
        monkeypatch.setenv(variable, value)


@dataclass
class Clock:
    """The service's clock: real, and moved by tests."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True)
class Home:
    """BlobService's insides over one store, and a client that uses what it grants."""

    uploader: Uploader
    completer: Completer
    keeper: Keeper
    sweeper: Sweeper
    table: SqliteBlobs | PostgresBlobs
    held: Bytes
    holdings: Holdings
    clock: Clock
    http: httpx.AsyncClient

    async def send(self, grant: Grant, body: bytes = b"", **changed: str) -> httpx.Response:
        """Do what a grant allows, or with some of its headers changed."""
        headers = {**grant.headers, **changed}
        headers.pop("content-length", None)  # the client says the true one
        return await self.http.request(
            grant.method, grant.url, content=body or None, headers=headers
        )

    async def keys(self) -> list[str]:
        """All keys that have bytes."""
        found = [each.key async for each in self.held.list("blobs/")]
        return found + [each.key async for each in self.held.list("staging/")]


@dataclass(frozen=True)
class Site:
    """Where a home is, also for other processes: its folder, its store and its database.

    `bytes_in`: the folder of the bytes where that is another.
    """

    name: str
    folder: str
    endpoint: str = ""
    bucket: str = ""
    dsn: str = ""
    bytes_in: str = ""


async def site(name: str, folder: Path) -> Site:
    """A new place for the home `name`."""
    if name == "folder":
        return Site(name, str(folder))
    store = STORES[name]()
    dsn = await postgres.database_of(folder) if name == "minio" else ""
    return Site(name, str(folder), store.endpoint, store.bucket(), dsn)


@asynccontextmanager
async def home(name: str, folder: Path) -> AsyncIterator[Home]:
    """Open the home `name`, with its table in `folder`."""
    where = await site(name, folder)
    async with home_at(where) as opened:
        yield opened
    if where.dsn:
        postgres.give_back(folder)


@pytest.fixture(params=HOMES)
async def each_home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Home]:
    """A fixture for modules of tests: `home = blob_homes.each_home`."""
    known(request.param, monkeypatch)
    async with home(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Parts as small as S3 allows, so that tests move few bytes; another such fixture."""
    monkeypatch.setattr(limits, "SINGLE_BYTES", 1 << 20)
    monkeypatch.setattr(parts, "FEW_PART_BYTES", 5 << 20)
    return 5 << 20


@asynccontextmanager
async def home_at(where: Site) -> AsyncIterator[Home]:
    """Open a home, perhaps again."""
    clock, lately = Clock(), Lately()
    with ThreadPoolExecutor(4) as pool:
        async with (
            _bytes(where, pool, clock) as (held, grants, holdings),
            _table(where) as table,
            # Plain HTTP: whom TLS trusts would be read from a file, which takes long.
            httpx.AsyncClient(timeout=60, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as http,
        ):
            yield Home(
                Uploader(table, held, grants, clock, lately),
                Completer(table, held, clock, lately),
                Keeper(table, held, grants, clock),
                Sweeper(table, table, held, clock),
                table,
                held,
                holdings,
                clock,
                http,
            )


@asynccontextmanager
async def _table(where: Site) -> AsyncIterator[SqliteBlobs | PostgresBlobs]:
    """SQLite where the bytes lie in a folder or on versitygw, PostgreSQL beside MinIO."""
    if not where.dsn:
        database = await SqliteDatabase.open(Path(where.folder) / "asgard.sqlite3")
        yield SqliteBlobs(database)
        await database.close()
        return
    link = await Link.open(where.dsn, 4, planned_once=True, by_index=True)
    yield PostgresBlobs(link)
    await link.close()


@asynccontextmanager
async def _bytes(
    where: Site, pool: ThreadPoolExecutor, clock: Clock
) -> AsyncIterator[tuple[Bytes, Grants, Holdings]]:
    if where.name == "folder":
        folder = Path(where.bytes_in or where.folder)
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        held = FolderBytes(folder, pool)
        held.tidy()
        grants = FolderGrants(secret_of(folder), lambda: address, clock)
        app = Starlette(routes=[BytesEndpoint(held, grants).route()])
        server = PageServer(app, drain_seconds=1)
        serving = asyncio.create_task(server.serve([listener]))
        await server.up.wait()
        yield held, grants, FolderHoldings(folder, pool)
        server.stop()
        await serving
        return
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    place = replace(
        parse_url(f"s3://{where.bucket}/some/prefix"), endpoint=where.endpoint, credentials=keys
    )
    at = Endpoint.parse(where.endpoint)
    signer = Signer(at, Credentials(ACCESS_KEY, SECRET_KEY), clock=lambda: clock().timestamp())
    objects = S3Bytes(place, pool)
    yield objects, S3Grants(place, signer), S3Holdings(place, pool)
    await objects.close()
