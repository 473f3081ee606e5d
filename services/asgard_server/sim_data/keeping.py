"""What an owner does with jobs: making them, reading them, sharing, retrying, deleting."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.job_errors import (
    ObjectStorageNotConfiguredError,
    ReportNotAvailableError,
    ShareNotFoundError,
    SimDataNotAvailableError,
)

from asgard_server.sim_data import domain, metrics, wishes
from asgard_server.sim_data.domain import Caller, Job, Limits, Wish
from asgard_server.sim_data.store import Artifacts, Jobs, Page

Told = Callable[[], Awaitable[None]]


class Keeper:
    """Jobs as their owners see them. `artifacts` None: there is no store for their files.

    `told` is called after each change: watchers are to look. `remove` removes the files of a
    deleted job.
    """

    def __init__(
        self,
        jobs: Jobs,
        artifacts: Artifacts | None,
        limits: Limits,
        clock: Callable[[], datetime],
        told: Told,
        remove: Callable[[Job], Awaitable[None]],
    ) -> None:
        self._jobs = jobs
        self._artifacts = artifacts
        self._limits = limits
        self._clock = clock
        self._told = told
        self._remove = remove

    async def create(self, caller: Caller, wish: Wish) -> Job:
        """Make a job. Raises `InvalidFieldError`, `DemoModeError`, `SeedTooLongError`,
        `DuplicateJobError`, in this order.
        """
        now = self._clock()
        job = wishes.asked(wish, caller.user_id, self._limits, now)
        made = await self._jobs.create(job, now - timedelta(seconds=domain.DUPLICATE_SECONDS))
        return await self._now(made)

    async def create_draft(self, caller: Caller, wish: Wish) -> Job:
        """Make a draft. Raises `InvalidFieldError`, `DemoModeError`."""
        job = wishes.draft(wish, caller.user_id, self._clock())
        wishes.allowed(self._limits)
        return await self._now(await self._jobs.add(job))

    async def edit(self, caller: Caller, job_id: int, wish: Wish) -> Job:
        """Change a draft. Raises `NotFoundError`, `JobStateError`, `InvalidFieldError`."""
        return await self._change(
            caller, job_id, lambda job: wishes.edited(job, wish, self._clock())
        )

    async def launch(self, caller: Caller, job_id: int) -> Job:
        """Make a draft a job. Raises as `edit` and `create` do."""
        return await self._change(
            caller, job_id, lambda job: wishes.launched(job, self._limits, self._clock())
        )

    async def retry(self, caller: Caller, job_id: int) -> Job:
        """Make another attempt of a job. Raises `NotFoundError`, `JobNotRetryableError`."""

        def retried(job: Job) -> Job:
            return wishes.retried(domain.require_owner(job, caller), self._clock())

        return await self._now(await self._jobs.retry(job_id, retried))

    async def job(self, caller: Caller, job_id: int) -> Job:
        """Look up a job. Raises `NotFoundError`, `NotYoursError`."""
        job = await self._jobs.find(job_id)
        if job is None:
            raise NotFoundError("job", str(job_id))
        return domain.require_owner(job, caller)

    async def page(
        self, caller: Caller, behind: tuple[datetime, int] | None, skip: int, limit: int
    ) -> Page:
        """The caller's jobs, newest first, in short form."""
        return await self._jobs.page(caller.user_id, behind, skip, limit)

    async def download_urls(self, caller: Caller, job_id: int) -> Mapping[str, str]:
        """URLs of a job's files. Raises `SimDataNotAvailableError` for a job that is not there or
        not the caller's, `ObjectStorageNotConfiguredError` without a store, and
        `SimDataNotAvailableError` for a job that has not been completed.
        """
        job = await self._jobs.find(job_id)
        if job is None or not domain.may_read(job, caller):
            raise SimDataNotAvailableError(job_id)
        if self._artifacts is None:
            raise ObjectStorageNotConfiguredError
        if not job.sim_data_available:
            raise SimDataNotAvailableError(job_id)
        return self._artifacts.download_urls(job_id)

    async def report(self, caller: Caller, job_id: int) -> str:
        """A job's report. Raises `NotFoundError`, `ReportNotAvailableError`."""
        job = await self.job(caller, job_id)
        if job.result_report is None:
            raise ReportNotAvailableError(job_id)
        return job.result_report

    async def share(self, caller: Caller, job_id: int) -> str:
        """The token of a job's link. Raises `NotFoundError`."""
        token = secrets.token_urlsafe(24)
        job = await self._change(
            caller, job_id, lambda job: domain.shared(job, token, self._clock())
        )
        return job.share_token or token

    async def unshare(self, caller: Caller, job_id: int) -> None:
        """Revoke a job's link. Raises `NotFoundError`."""
        await self._change(caller, job_id, lambda job: domain.unshared(job, self._clock()))

    async def shared(self, token: str) -> Job:
        """The job with this link. Raises `ShareNotFoundError`."""
        job = await self._jobs.find_shared(token) if token else None
        if job is None:
            raise ShareNotFoundError
        return job

    async def delete(self, caller: Caller, job_id: int) -> None:
        """Delete a job: first the row says so, then its files go, then the row.

        Raises `NotFoundError`, and `StorageUnavailableError` when the files could not be removed:
        the job is gone all the same, and the sweeper removes them.
        """
        marked = await self._jobs.delete(
            job_id, lambda job: domain.deleted(domain.require_owner(job, caller), self._clock())
        )
        metrics.DELETED.inc()
        await self._told()
        await self._remove(marked)

    async def _change(self, caller: Caller, job_id: int, change: Callable[[Job], Job]) -> Job:
        def changed(job: Job) -> Job:
            return change(domain.require_owner(job, caller))

        return await self._now(await self._jobs.change(job_id, changed))

    async def _now(self, job: Job) -> Job:
        await self._told()
        return job
