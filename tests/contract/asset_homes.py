"""AssetService's insides over real engines: SQLite beside a folder and versitygw, PostgreSQL beside
MinIO; BlobService is asked by gRPC, as everywhere.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
from asgard_server.access.domain import Action
from asgard_server.asset import wishes
from asgard_server.asset.domain import Asset
from asgard_server.asset.finishing import Finisher
from asgard_server.asset.keeping import Keeper, Made
from asgard_server.asset.listing import Lists
from asgard_server.asset.releasing import releasing
from asgard_server.asset.sweeping import Sweeper
from asgard_server.asset.wishes import Wish
from asgard_server.auth.principal import Principal
from asgard_server.blob.handlers import BlobHandlers
from asgard_server.outbox.delivery import Delivery
from asgard_server.processes.blob_service import BLOB_SERVICE
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.store.postgres_link import Link
from asgard_server.store.rpc_blobs import RpcBlobs
from asgard_server.store.sql import access
from asgard_server.store.sql.asset_upkeep import LinkTurns, OwnTurns, SqlUpkeep
from asgard_server.store.sql.asset_versions import SqlVersions
from asgard_server.store.sql.assets import SqlAssets
from asgard_server.store.sql.outbox import SqlOutbox
from asgard_server.store.sql.postgres import PostgresSessions
from asgard_server.store.sql.session import Database, Session
from asgard_server.store.sql.sqlite import SqliteSessions
from asgard_server.store.sqlite_blobs import SqliteBlobs
from gimle.asgard.v1 import blob_service_pb2_grpc

from tests.contract import blob_homes
from tests.contract.blob_homes import Home, Site
from tests.engines import postgres

HOMES = blob_homes.HOMES
# One home for each engine of SQL, where the store of bytes makes no difference.
ENGINES = ("folder", "minio")

ADA = Principal("ada")
BOB = Principal("bob")
EVE = Principal("eve")


async def nobody_is_told() -> None:
    """No watcher."""


@dataclass(frozen=True)
class AssetHome:
    """AssetService's insides, and the home of its bytes."""

    store: Home
    database: Database
    assets: SqlAssets
    keeper: Keeper
    finisher: Finisher
    lists: Lists
    sweeper: Sweeper
    delivery: Delivery
    upkeep: SqlUpkeep
    blobs: RpcBlobs

    async def create(self, by: Principal = ADA, **wish: Any) -> Made:
        """Make an asset; one of two components, unless something else is said."""
        given = {"asset_type": "checkpoint", **wish}
        if not {"content", "component_files", "uri", "components"} & set(given):
            given["components"] = ("a/b.npy", "c.json")
        return await self.keeper.create(by, wishes.asked(Wish(**given), by.sub, self.store.clock()))

    async def send(self, made: Made, body: bytes = b"some bytes") -> list[httpx.Response]:
        """Upload all components as the documented client does: by a bare PUT."""
        kind = {"content-type": "application/octet-stream"}
        return [
            await self.store.http.put(
                each.url, content=body, headers={**kind, **(each.headers or {})}
            )
            for each in made.uploads
        ]

    async def ready(self, by: Principal = ADA, **wish: Any) -> Asset:
        """Make an asset that is ready."""
        made = await self.create(by, **wish)
        await self.send(made)
        return await self.finisher.finalize(by, made.asset.id)

    async def grant(self, asset_id: str, who: str, action: Action) -> None:
        async def work(session: Session) -> None:
            created_at = await access.hold(session, "asset", asset_id)
            await access.grant(session, "asset", asset_id, who, action, "own", "ada", 1)
            await access.regrant(session, "asset", asset_id, created_at)

        await self.database.write(work)

    async def settle(self) -> None:
        """Do all that is to be done in time: give up, let go, deliver, sweep."""
        self.store.clock.ahead += timedelta(days=8)
        await self.sweeper.sweep()
        self.store.clock.ahead += timedelta(days=2)
        await self.sweeper.sweep()
        self.store.clock.ahead += timedelta(hours=2)  # what is let go is let go once more
        await self.delivery.deliver()
        await self.store.sweeper.sweep()

    async def count(self, table: str, where: str = "", *values: object) -> int:
        """How many rows a table has."""

        async def count(session: Session) -> int:
            query = f"SELECT count(*) FROM {table} {where}"
            return int(await session.value(query, *values))

        return await self.database.look(count)


@asynccontextmanager
async def asset_home(name: str, folder: Path) -> AsyncIterator[AssetHome]:
    """Open the home `name` in a new place."""
    where = await blob_homes.site(name, folder)
    async with asset_home_at(where) as opened:
        yield opened
    if where.dsn:
        postgres.give_back(folder)


@asynccontextmanager
async def asset_home_at(where: Site) -> AsyncIterator[AssetHome]:
    """Open a home, perhaps again."""
    async with blob_homes.home_at(where) as home, _channel(home) as channel:
        blobs = RpcBlobs(channel, "the test")
        async with _database(where, home) as (database, turns):
            assets, upkeep = SqlAssets(database), SqlUpkeep(database)
            common = (assets, blobs, home.clock, nobody_is_told)
            versions = SqlVersions(database)
            yield AssetHome(
                home,
                database,
                assets,
                Keeper(*common),
                Finisher(*common),
                Lists(assets, versions, home.clock, nobody_is_told),
                Sweeper(assets, upkeep, turns, home.clock, nobody_is_told),
                Delivery(
                    SqlOutbox(database), turns, home.clock, {"blobs.release": releasing(blobs)}
                ),
                upkeep,
                blobs,
            )


@asynccontextmanager
async def _channel(home: Home) -> AsyncIterator[grpc.aio.Channel]:
    add = blob_service_pb2_grpc.add_BlobServiceServicer_to_server
    service = Service(BLOB_SERVICE, add, BlobHandlers(home.uploader, home.completer, home.keeper))
    server = create_server([service], Health([BLOB_SERVICE]))
    address = f"unix-abstract:asgard-test-{secrets.token_hex(8)}"
    server.add_insecure_port(address)
    await server.start()
    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel
    await server.stop(None)


@asynccontextmanager
async def _database(
    where: Site, home: Home
) -> AsyncIterator[tuple[Database, OwnTurns | LinkTurns]]:
    if isinstance(home.table, SqliteBlobs):
        yield SqliteSessions(home.table._database), OwnTurns()
        return
    link = await Link.open(where.dsn, 4, planned_once=True, by_index=True, search_path="asgard")
    yield PostgresSessions(link), LinkTurns(link)
    await link.close()
