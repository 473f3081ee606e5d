"""SimDataService put together: the table of jobs, the store of their files, the report task."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from gimle.asgard.v1 import sim_data_service_pb2, sim_data_service_pb2_grpc

from asgard_server.processes.bell import open_bell
from asgard_server.rpc.server import Service
from asgard_server.settings import S3Prefix, SettingError, Settings
from asgard_server.sim_data.domain import Limits
from asgard_server.sim_data.handlers import SimDataHandlers
from asgard_server.sim_data.keeping import Keeper
from asgard_server.sim_data.removing import Remover
from asgard_server.sim_data.report_task import Reporter, ReportRunner, StoredReports, plain_report
from asgard_server.sim_data.store import Artifacts, Reports
from asgard_server.sim_data.vanished import Vanished
from asgard_server.sim_data.watch import JobWatch, bell
from asgard_server.sim_data.working import Floor
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_grants import FolderGrants
from asgard_server.store.postgres_jobs import PostgresJobs
from asgard_server.store.sqlite_jobs import SqliteJobs

SIM_DATA_SERVICE = sim_data_service_pb2.DESCRIPTOR.services_by_name["SimDataService"].full_name


@dataclass(frozen=True, slots=True)
class SimData:
    """SimDataService as a part of a process. `work` is to be run beside it; `stop` ends watches."""

    service: Service
    work: Callable[[], Coroutine[Any, Any, None]]
    check: Callable[[], Coroutine[Any, Any, None]]
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Local:
    """Where the files of jobs lie when they lie in a folder that this process serves."""

    storage: Path
    held: FolderBytes
    grants: FolderGrants


async def open_sim_data(
    settings: Settings,
    jobs: SqliteJobs | PostgresJobs,
    local: Local | None,
    pool: Executor,
    stack: AsyncExitStack,
) -> SimData:
    """Open SimDataService over a table of jobs. `stack` closes what it opens.

    Raises `SettingError`.
    """
    feed, _ = open_bell(settings, stack, measured=False)
    artifacts, reports = await _artifacts(settings, local, pool, stack)

    watch, told = JobWatch(jobs, feed), bell(jobs, feed)
    remover = Remover(
        *(jobs, jobs, artifacts, _now),
        changes_kept=settings.changes_kept,
        remember=timedelta(days=settings.changes_kept_days),
    )
    limits = Limits(settings.max_seed_chars, settings.demo_mode)
    keeper = Keeper(jobs, artifacts, limits, _now, told, remover.remove)
    handlers = SimDataHandlers(keeper, Floor(jobs, artifacts, _now, told), watch, _now)
    works = [remover.run, watch.run, Vanished(jobs, jobs, _now, told).run]
    if reports is not None:
        reporter = Reporter(
            *(jobs, jobs, reports, _runner(settings), _now, told), replica=settings.replica
        )
        works.append(reporter.run)

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for each in works:
                group.create_task(each())

    async def check() -> None:
        await jobs.head()

    add = sim_data_service_pb2_grpc.add_SimDataServiceServicer_to_server
    return SimData(Service(SIM_DATA_SERVICE, add, handlers), work, check, watch.stop)


async def _artifacts(
    settings: Settings, local: Local | None, pool: Executor, stack: AsyncExitStack
) -> tuple[Artifacts | None, Reports | None]:
    if settings.sim_data == "local":
        if local is None:
            raise SettingError(
                "ASGARD_SIM_DATA",
                "is local, which needs a folder that this process serves",
                "give ASGARD_STORAGE=FOLDER to `asgard serve all`, or unset it",
            )
        from asgard_server.store.folder_artifacts import FolderArtifacts

        folder = FolderArtifacts(local.storage, local.held, local.grants)
        return folder, folder
    if settings.minio_endpoint is None:
        return None, None
    from asgard_server.processes.s3 import s3_place, s3_signer
    from asgard_server.store.s3_artifacts import S3Artifacts

    # A bucket of the store that ASGARD_S3_* and MINIO_* name: both say the same, or none starts.
    place = await asyncio.to_thread(s3_place, settings, S3Prefix(settings.minio_bucket))
    signer = await s3_signer(settings, _timestamp, stack)
    inside = await s3_signer(settings, _timestamp, stack, own=True)
    artifacts = S3Artifacts(
        place,
        signer,
        pool,
        # What is rewritten comes to a proxy that forwards the store's own Host.
        reading=inside if settings.s3_proxy_base else None,
        rewrite=settings.rewritten,
    )
    return artifacts, StoredReports.signed_by(inside, settings.minio_bucket)


def _runner(settings: Settings) -> ReportRunner:
    """The runner that settings name. Raises `SettingError`."""
    if not settings.report_runner:
        return plain_report
    module, _, name = settings.report_runner.partition(":")
    try:
        return cast(ReportRunner, getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(
            "ASGARD_REPORT_RUNNER",
            f"is {settings.report_runner!r}, which cannot be loaded ({error})",
            "give module:name of a function that can be imported here",
        ) from error


def _now() -> datetime:
    return datetime.now(UTC)


def _timestamp() -> float:
    return _now().timestamp()
