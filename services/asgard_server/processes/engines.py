"""The engines that settings choose: documents, index and bell. Nobody else asks which they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder import Folder

from asgard_server.feed.feed import Feed
from asgard_server.processes.bell import open_bell
from asgard_server.processes.s3 import s3_place
from asgard_server.run.grants import Intents
from asgard_server.run.ledger import Ledger
from asgard_server.run.store import CreatingAtOnce, Documents, Found, Key, RunIndex
from asgard_server.run.upkeep import IndexUpkeep, WatchedPlace
from asgard_server.settings import S3Prefix, Settings
from asgard_server.store.folder import FolderDocuments
from asgard_server.store.folder_creates import FolderCreates
from asgard_server.store.folder_intents import FolderIntents
from asgard_server.store.measured import measured
from asgard_server.store.mounts import cache_folder, index_in_cache, index_path, is_network
from asgard_server.store.retention import Kept
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.store.written import Written

# Writers that wait for the disk (fsync) do so side by side; those that do not only take the
# interpreter from each other.
_WRITERS = {"durable": 8, "relaxed": 4}


Finishing = Callable[[Callable[..., Awaitable[int]]], Coroutine[Any, Any, None]]


class Place(Documents, WatchedPlace, Protocol):
    """Where documents lie, to be served and to be watched."""


class Index(RunIndex, IndexUpkeep, Protocol):
    """An index, to be asked and to be kept true."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What RunService works with. `name` is what the place of documents is called.

    `bell_problem` says why the bell does not reach other replicas; empty while it does.
    `finishing`, where a place needs it: to be run beside the service, it finishes what
    replicas that died have begun, and observes it.
    """

    documents: Place
    index: Index
    feed: Feed
    name: str
    storage_id: str
    bell_problem: Callable[[], str]
    intents: Intents
    creating: CreatingAtOnce | None = None
    finishing: Finishing | None = None


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
    intents: Intents
    written: Written | None = None
    ledger: Ledger | None = None
    finishing: Finishing | None = None
    close: Callable[[], Awaitable[None]] | None = None
    at_once: Callable[[SqliteRunIndex], CreatingAtOnce] | None = None


@asynccontextmanager
async def open_engines(settings: Settings, *, create: bool = True) -> AsyncIterator[Engines]:
    """Open the engines that `settings` name; they are closed when the block ends.

    A folder that is not there is made, if `create`. Raises `StorageUnavailableError` when one is
    not there or is another storage's, and its subclass `SchemaError` for a schema that this
    release cannot use.
    """
    async with AsyncExitStack() as stack:
        if isinstance(settings.storage, S3Prefix):
            opened = await _s3(settings, settings.storage, stack)
        else:
            opened = await _folder(settings, settings.storage, stack, create)
        index, creating = await _index(settings, opened, stack)
        feed, problem = open_bell(settings, stack)
        if opened.close is not None:
            # Before index and bell are closed: what it still has to write is observed and rung.
            stack.push_async_callback(opened.close)
        yield Engines(
            documents=measured(opened.documents, "documents", Documents, WatchedPlace),
            index=measured(index, "index", RunIndex, IndexUpkeep),
            feed=feed,
            name=opened.name,
            storage_id=opened.storage_id or "",
            bell_problem=problem,
            intents=opened.intents,
            finishing=opened.finishing,
            creating=creating and measured(creating, "documents", CreatingAtOnce),
        )


async def _folder(settings: Settings, path: Path, stack: AsyncExitStack, create: bool) -> _Opened:
    writers = stack.enter_context(
        ThreadPoolExecutor(_WRITERS[settings.durability], "asgard-folder")
    )
    folder = await asyncio.to_thread(Folder, path, durability=settings.durability, create=create)
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
        intents=FolderIntents(place, writers, durable=settings.durability == "durable"),
        at_once=lambda index: FolderCreates(folder, documents, index),
    )


async def _s3(settings: Settings, prefix: S3Prefix, stack: AsyncExitStack) -> _Opened:
    # The clients of S3 take half a second to import: a folder does without.
    from gimle.asgard.core.s3.objects import Objects
    from gimle.asgard.core.s3.opening import open_place

    from asgard_server.store.s3 import S3Documents

    place = s3_place(settings, prefix)
    # Asked first: a ledger in a file is found by it.
    storage_id = await asyncio.to_thread(lambda: open_place(Objects(place)))
    index_file = index_in_cache(storage_id or str(place))
    ledger = await _ledger(settings, index_file, storage_id, stack)
    documents = await S3Documents.open(place, ledger, cache=cache_folder() / "arrays")
    stack.push_async_callback(documents.close)
    return _Opened(
        documents=documents,
        name=str(place),
        storage_id=documents.storage_id,
        index_file=index_file,
        read_now=documents.read_now,
        stamp_now=documents.stamp_now,
        read=documents.read,
        stamp=documents.stamp,
        intents=documents.intents,
        written=documents.written,
        ledger=ledger,
        finishing=documents.run,
        close=documents.close,
    )


async def _ledger(
    settings: Settings, index_file: Path, storage_id: str | None, stack: AsyncExitStack
) -> Ledger:
    if settings.database_url is None:
        from asgard_server.store.sqlite_ledger import SqliteLedger

        in_file = await SqliteLedger.open(index_file, storage_id=storage_id)
        stack.push_async_callback(in_file.close)
        return in_file
    from asgard_server.store.postgres_ledger import PostgresLedger

    ledger = await PostgresLedger.open(settings.database_url, replica=settings.replica)
    stack.push_async_callback(ledger.close)
    return ledger


async def _index(
    settings: Settings, opened: _Opened, stack: AsyncExitStack
) -> tuple[Index, CreatingAtOnce | None]:
    if settings.database_url is None:
        sqlite = await SqliteRunIndex.open(
            opened.index_file,
            opened.read_now,
            storage_id=opened.storage_id,
            stamp=opened.stamp_now,
            kept=Kept(settings.changes_kept, settings.changes_kept_days),
            written=opened.written,
        )
        stack.push_async_callback(sqlite.close)
        return sqlite, opened.at_once and opened.at_once(sqlite)
    from asgard_server.store.postgres import PostgresRunIndex
    from asgard_server.store.postgres_ledger import PostgresLedger

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
        kept=Kept(settings.changes_kept, settings.changes_kept_days),
        written=opened.written,
        rounds=opened.ledger.rounds if isinstance(opened.ledger, PostgresLedger) else None,
    )
    stack.push_async_callback(postgres.close)
    return postgres, None
