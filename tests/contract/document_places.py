"""What the contract of `Documents` is tried on: a folder, and prefixes of every store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard_server.store.folder import FolderDocuments
from asgard_server.store.postgres_ledger import PostgresLedger
from asgard_server.store.s3 import S3Documents
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.s3.place import Place

from tests.engines import minio, postgres, s3_store, versitygw
from tests.engines.s3_store import Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}


@dataclass(frozen=True)
class House:
    """A place of documents. `take_away` makes it vanish as such places do.

    `strew` writes bytes under a path, as somebody else may.
    """

    documents: Any
    take_away: Callable[[], Awaitable[None]]
    strew: Callable[[str, bytes], Awaitable[object]]


@asynccontextmanager
async def in_a_folder(path: Path) -> AsyncIterator[House]:
    """Documents in a folder, which somebody may rename."""

    async def take_away() -> None:
        os.rename(path, path.with_name("away"))

    async def strew(name: str, body: bytes) -> None:
        (path / name).write_bytes(body)

    with ThreadPoolExecutor(8) as pool:
        yield House(FolderDocuments(Folder(path, durability="relaxed"), pool), take_away, strew)


def place_in(store: Store, prefix: str = "some/prefix") -> Place:
    """A prefix of a new bucket, and the keys of its store."""
    keys = {
        "aws_access_key_id": s3_store.ACCESS_KEY,
        "aws_secret_access_key": s3_store.SECRET_KEY,
        "region_name": "us-east-1",
    }
    return Place(store.bucket(), prefix, store.endpoint, keys)


@contextmanager
def database(path: Path) -> Iterator[Callable[[], Awaitable[str]]]:
    """The address of an empty database, for a test's folder."""
    yield lambda: postgres.database_of(path)
    postgres.give_back(path)


@asynccontextmanager
async def in_s3(store: Store, path: Path) -> AsyncIterator[House]:
    """Documents in S3, with a ledger in PostgreSQL; somebody may empty the prefix."""
    place = place_in(store)
    with database(path) as dsn:
        ledger = await PostgresLedger.open(await dsn(), replica="one")
        documents = await S3Documents.open(place, ledger, cache=path / "cache")

        async def take_away() -> None:
            def empty() -> None:
                client = store.client()
                for key in store.keys(place.bucket):
                    client.delete_object(Bucket=place.bucket, Key=key)

            await asyncio.to_thread(empty)

        async def strew(name: str, body: bytes) -> None:
            def put() -> None:
                store.client().put_object(Bucket=place.bucket, Key=place.key(name), Body=body)

            await asyncio.to_thread(put)

        yield House(documents, take_away, strew)
        await documents.close()
        await ledger.close()


@asynccontextmanager
async def house_of(kind: str, path: Path) -> AsyncIterator[House]:
    """A house of a kind: "folder", or the name of a store."""
    opened = in_a_folder(path) if kind == "folder" else in_s3(STORES[kind](), path)
    async with opened as house:
        yield house
