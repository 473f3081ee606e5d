"""The engines that settings choose: documents, index and bell. Nobody else asks which they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder import Folder

from asgard_server.feed.feed import Feed
from asgard_server.feed.memory import MemoryFeed
from asgard_server.run.creating import CreatingAtOnce
from asgard_server.run.store import (
    Documents,
    Found,
    IndexUpkeep,
    Key,
    RunIndex,
    WatchedPlace,
)
from asgard_server.settings import S3Prefix, SettingError, Settings
from asgard_server.store.folder import FolderDocuments
from asgard_server.store.folder_creates import FolderCreates
from asgard_server.store.mounts import index_path, is_network
from asgard_server.store.sqlite import SqliteRunIndex

# Writers that wait for the disk (fsync) do so side by side; those that do not only take the
# interpreter from each other.
_WRITERS = {"durable": 8, "relaxed": 4}


class Place(Documents, WatchedPlace, Protocol):
    """Where documents lie, to be served and to be watched."""


class Index(RunIndex, IndexUpkeep, Protocol):
    """An index, to be asked and to be kept true."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What RunService works with. `name` is what the place of documents is called.

    `bell_problem` says why the bell does not reach other replicas; empty while it does.
    """

    documents: Place
    index: Index
    feed: Feed
    name: str
    storage_id: str
    bell_problem: Callable[[], str]
    creating: CreatingAtOnce | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """Documents, and how each kind of index reads them: in threads, or on the loop."""

    documents: Place
    name: str
    storage_id: str | None
    index_file: Path
    read_now: Callable[[Key], Found | None]
    stamp_now: Callable[[Key], str | None]
    read: Callable[[Key], Awaitable[Found | None]]
    stamp: Callable[[Key], Awaitable[str | None]]
    at_once: Callable[[SqliteRunIndex], CreatingAtOnce]


@asynccontextmanager
async def open_engines(settings: Settings) -> AsyncIterator[Engines]:
    """Open the engines that `settings` name; they are closed when the block ends.

    Raises `StorageUnavailableError` when one is not there or is another storage's, and its
    subclass `SchemaError` for a schema that this release cannot use.
    """
    async with AsyncExitStack() as stack:
        if isinstance(settings.storage, S3Prefix):
            raise SettingError(
                "ASGARD_STORAGE",
                f"is {settings.storage}",
                "give a folder; this release keeps documents in folders",
            )
        opened = await _folder(settings, settings.storage, stack)
        index, creating = await _index(settings, opened, stack)
        feed, problem = _bell(settings, stack)
        yield Engines(
            opened.documents, index, feed, opened.name, opened.storage_id or "", problem, creating
        )


async def _folder(settings: Settings, path: Path, stack: AsyncExitStack) -> _Opened:
    writers = stack.enter_context(
        ThreadPoolExecutor(_WRITERS[settings.durability], "asgard-folder")
    )
    folder = await asyncio.to_thread(Folder, path, durability=settings.durability)
    place = Path(folder.path)
    network = await asyncio.to_thread(is_network, place)
    documents = FolderDocuments(folder, writers, network=network)
    loop = asyncio.get_running_loop()

    async def read(key: Key) -> Found | None:
        return await loop.run_in_executor(writers, documents.read_now, key)

    async def stamp(key: Key) -> str | None:
        return await loop.run_in_executor(writers, documents.stamp_now, key)

    return _Opened(
        documents=documents,
        name=str(folder.path),
        storage_id=folder.storage_id,
        index_file=index_path(place, folder.storage_id, network=network),
        read_now=documents.read_now,
        stamp_now=documents.stamp_now,
        read=read,
        stamp=stamp,
        at_once=lambda index: FolderCreates(folder, documents, index),
    )


async def _index(
    settings: Settings, opened: _Opened, stack: AsyncExitStack
) -> tuple[Index, CreatingAtOnce | None]:
    if settings.database_url is None:
        sqlite = await SqliteRunIndex.open(
            opened.index_file,
            opened.read_now,
            storage_id=opened.storage_id,
            stamp=opened.stamp_now,
        )
        stack.push_async_callback(sqlite.close)
        return sqlite, opened.at_once(sqlite)
    from asgard_server.store.postgres import PostgresRunIndex

    if opened.storage_id is None:
        raise StorageUnavailableError(
            opened.name,
            "it has no id by which a database could know it, and may not be written: let"
            " somebody who may write into it open it once",
        )
    postgres = await PostgresRunIndex.open(
        settings.database_url,
        opened.read,
        storage_id=opened.storage_id,
        stamp=opened.stamp,
        kept_entries=settings.changes_kept,
    )
    stack.push_async_callback(postgres.close)
    return postgres, None


def _bell(settings: Settings, stack: AsyncExitStack) -> tuple[Feed, Callable[[], str]]:
    if settings.redis_url is None:
        return MemoryFeed(), lambda: ""
    from asgard_server.feed.redis import RedisFeed

    try:
        feed = RedisFeed(settings.redis_url)
    except ValueError as error:
        raise SettingError("ASGARD_REDIS_URL", "cannot be used", str(error)) from error
    stack.push_async_callback(feed.aclose)
    return feed, lambda: feed.problem
