"""`asgard fsck` put together: documents, blobs and files of jobs, of the engines of settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder import Folder, Report
from gimle.asgard.core.folder.fsck import Finding

from asgard_server.blob.examining import DAY, Examined, Examiner
from asgard_server.blob.holdings import Claimants, Holdings, Owner, Rows
from asgard_server.processes.s3 import s3_place
from asgard_server.run.ledger import Ledger
from asgard_server.run.store import Key
from asgard_server.settings import S3Prefix, Settings
from asgard_server.sim_data.owning import JobFiles
from asgard_server.store.folder_holdings import FolderHoldings
from asgard_server.store.sql.asset_upkeep import AssetClaims

if TYPE_CHECKING:
    from gimle.asgard.core.s3.fsck import UnderWay
    from gimle.asgard.core.s3.place import Place

Tell = Callable[[str, int], None]

_THREADS = 8
_CONNECTIONS = 2
_DATABASE = "asgard.sqlite3"


@dataclass(frozen=True, slots=True)
class Whole:
    """What was found in all of a storage; the findings of blobs stand among the report's.

    `runs_only`: it keeps no blobs and no jobs, for they need a database and none is named.
    """

    storage: str
    report: Report
    blobs: Examined
    runs_only: bool = False


@dataclass(frozen=True, slots=True)
class _Tables:
    """What the database knows of bytes."""

    blobs: Rows
    jobs: JobFiles
    assets: Claimants


async def examine(
    settings: Settings,
    tell: Tell,
    *,
    repair: bool = False,
    deep: bool = False,
    young: timedelta = DAY,
) -> Whole:
    """Examine documents and blobs, beside services that go on; with `repair` mend them.

    Nothing younger than `young` is removed. Raises `StorageUnavailableError` when the storage or
    the database cannot be asked, or are not of each other.
    """
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "asgard-fsck"))
        storage = settings.storage
        if isinstance(storage, S3Prefix):
            place = s3_place(settings, storage)
            report = await _documents_in_s3(settings, place, tell, repair, deep, young, stack)
            holdings, name = await asyncio.to_thread(_s3_holdings, place, pool), str(place)
        else:
            report = await asyncio.to_thread(
                lambda: Folder(storage, create=False).fsck(repair=repair)
            )
            holdings, name = FolderHoldings(storage, pool), str(storage)
        tables = await _tables(settings, stack)
        if tables is None:
            blobs = await _unknown(holdings)
        else:
            owners = await _owners(settings, tables.jobs, holdings, pool)
            examiner = Examiner(
                tables.blobs,
                holdings,
                _now,
                owners=owners,
                claimants=(tables.assets,),
                young=young,
                tell=tell,
            )
            blobs = await examiner.examine(repair=repair, deep=deep)
    report = replace(report, findings=[*report.findings, *blobs.findings])
    runs_only = tables is None and isinstance(storage, S3Prefix)
    return Whole(name, report, blobs, runs_only)


async def _owners(
    settings: Settings, jobs: JobFiles, holdings: Holdings, pool: Executor
) -> tuple[tuple[Owner, Holdings], ...]:
    """Who keeps bytes under keys of their own, and in which store: SimSwarm's jobs."""
    if settings.minio_endpoint is not None and settings.sim_data == "store":
        place = await asyncio.to_thread(s3_place, settings, S3Prefix(settings.minio_bucket))
        return ((jobs, await asyncio.to_thread(_s3_holdings, place, pool)),)
    # Whoever asks need not have been told how the server keeps them: a folder shows it.
    return () if isinstance(settings.storage, S3Prefix) else ((jobs, holdings),)


async def _unknown(holdings: Holdings) -> Examined:
    """Count what lies there without the table that knows it."""
    found = Examined()
    for folder in ("blobs/", "staging/"):
        async for held in holdings.objects(folder):
            found.on_the_way.add(held.size_bytes)
    if found.on_the_way.count:
        problem = (
            f"which blobs these {found.on_the_way.count:,} objects are, a database knows:"
            " set ASGARD_DATABASE_URL, or bring asgard.sqlite3 back"
        )
        size = found.on_the_way.size_bytes
        found.findings.append(Finding("unknown_blobs", "blobs/", problem, size_bytes=size))
    return found


def _s3_holdings(place: Place, pool: Executor) -> Holdings:
    from asgard_server.store.s3_holdings import S3Holdings

    return S3Holdings(place, pool)


async def _tables(settings: Settings, stack: AsyncExitStack) -> _Tables | None:
    """The tables of blobs, jobs and assets, None where none is named or has been made."""
    if settings.database_url is not None:
        from asgard_server.store import migrate
        from asgard_server.store.postgres_blobs import PostgresBlobs
        from asgard_server.store.postgres_jobs import PostgresJobs
        from asgard_server.store.postgres_link import Link
        from asgard_server.store.sql.postgres import PostgresSessions

        link = await Link.open(settings.database_url, _CONNECTIONS, search_path="asgard")
        stack.push_async_callback(link.close)
        async with link.connection() as connection:
            await migrate.check(connection, link.place)
        postgres = PostgresJobs(link)
        assets = AssetClaims(PostgresSessions(link))
        return _Tables(PostgresBlobs(link), JobFiles(postgres, postgres), assets)
    if isinstance(settings.storage, S3Prefix):
        return None
    path = Path(settings.storage) / _DATABASE
    if not await asyncio.to_thread(path.exists):
        return None
    from asgard_server.store.sql.sqlite import SqliteSessions
    from asgard_server.store.sqlite_blobs import SqliteBlobs
    from asgard_server.store.sqlite_database import SqliteDatabase
    from asgard_server.store.sqlite_jobs import SqliteJobs

    database = await SqliteDatabase.open(path)
    stack.push_async_callback(database.close)
    sqlite = SqliteJobs(database)
    assets = AssetClaims(SqliteSessions(database))
    return _Tables(SqliteBlobs(database), JobFiles(sqlite, sqlite), assets)


async def _documents_in_s3(
    settings: Settings,
    place: Place,
    tell: Tell,
    repair: bool,
    deep: bool,
    young: timedelta,
    stack: AsyncExitStack,
) -> Report:
    from gimle.asgard.core.folder.layout import METADATA
    from gimle.asgard.core.s3 import fsck
    from gimle.asgard.core.s3.objects import Objects
    from gimle.asgard.core.s3.opening import storage_id

    found = await asyncio.to_thread(lambda: Objects(place).get(METADATA))
    known = None if found is None else storage_id(found.body, place)
    under_way = await _under_way(settings, known, stack)
    return await asyncio.to_thread(
        lambda: fsck.examine(
            place,
            repair=repair,
            deep=deep,
            under_way=under_way,
            tell=tell,
            old_seconds=young.total_seconds(),
        )
    )


async def _under_way(settings: Settings, known: str | None, stack: AsyncExitStack) -> UnderWay:
    """What replicas of RunService have begun and not finished, by their ledger."""
    from gimle.asgard.core.s3.fsck import UnderWay

    ledger: Ledger
    if settings.database_url is not None:
        from asgard_server.store.postgres_ledger import PostgresLedger

        await _require_same_storage(settings.database_url, known)
        shared = await PostgresLedger.open(settings.database_url, replica=settings.replica)
        stack.push_async_callback(shared.close)
        ledger = shared
    elif known is not None:
        from asgard_server.store.mounts import index_in_cache
        from asgard_server.store.sqlite_ledger import SqliteLedger

        path = index_in_cache(known)
        if not await asyncio.to_thread(path.exists):
            return UnderWay()
        in_file = await SqliteLedger.open(path, storage_id=known)
        stack.push_async_callback(in_file.close)
        ledger = in_file
    else:
        return UnderWay()
    return await _named_by(ledger)


async def _named_by(ledger: Ledger) -> UnderWay:
    from gimle.asgard.core.s3.fsck import UnderWay
    from gimle.asgard.core.s3.reading import document_path

    begun, unlisted = await ledger.begun(0), await ledger.unlisted(0)
    marked = await ledger.marked(0)
    named = [write.files for write in (*begun, *unlisted)]
    named += [deletion.files for deletion in marked]
    emptied = {stray.key for stray in await ledger.strays(0)}
    emptied |= {each.key for each in marked}
    emptied |= {Key("result", one) for each in marked for one in each.results}
    return UnderWay(
        files=frozenset(name for names in named for name in names),
        results=frozenset(write.key.id for write in (*begun, *unlisted)),
        documents=frozenset(document_path(*key) for key in emptied),
    )


async def _require_same_storage(dsn: str, known: str | None) -> None:
    """Raise `StorageUnavailableError` for a database that serves another storage."""
    from asgard_server.store import migrate
    from asgard_server.store.postgres_link import Link

    link = await Link.open(dsn, 1)
    try:
        async with link.connection() as connection:
            await migrate.check(connection, link.place)
            theirs = await connection.fetchval("SELECT storage_id FROM asgard.run_log_head")
    finally:
        await link.close()
    if theirs is not None and theirs != known:
        raise StorageUnavailableError(
            link.place,
            f"it is the database of the storage {theirs}, and this one is {known}: set"
            " ASGARD_STORAGE and ASGARD_DATABASE_URL to those of each other",
        )


def _now() -> datetime:
    return datetime.now(UTC)
