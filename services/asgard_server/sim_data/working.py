"""What a worker does with a job: claiming it, saying how far it is, ending it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.job_errors import (
    JobClaimedError,
    JobStateError,
    ObjectStorageNotConfiguredError,
    ServiceCallersOnlyError,
)

from asgard_server.sim_data import domain, leases, metrics
from asgard_server.sim_data.domain import Caller, Job, Produced
from asgard_server.sim_data.store import Artifacts, Jobs

# Waiting jobs looked at in one go: of several workers each finds one.
_CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Uploads:
    """A job, and the URLs to upload its files with; None without a store."""

    job: Job
    urls: Mapping[str, str] | None


class Floor:
    """Jobs as workers see them; else as `Keeper`."""

    def __init__(
        self,
        jobs: Jobs,
        artifacts: Artifacts | None,
        clock: Callable[[], datetime],
        told: Callable[[], Awaitable[None]],
    ) -> None:
        self._jobs = jobs
        self._artifacts = artifacts
        self._clock = clock
        self._told = told

    async def claim(
        self, caller: Caller, job_id: int | None, worker: str, seconds: int | None
    ) -> Uploads:
        """Take a job. Raises `NotFoundError`, `JobClaimedError`, `JobStateError`,
        `InvalidFieldError`, and `ServiceCallersOnlyError` to a caller that is none.
        """
        if not caller.is_service:
            raise ServiceCallersOnlyError
        domain.word(worker, "worker")
        held = leases.lease_seconds(seconds)
        if job_id is not None:
            return await self._claimed(job_id, worker, held)
        while waiting := await self._jobs.waiting(self._clock(), _CANDIDATES):
            for candidate in waiting:
                try:
                    return await self._claimed(candidate, worker, held)
                except (JobClaimedError, JobStateError, NotFoundError):
                    continue  # another was faster
        raise NotFoundError("job", "that waits for a worker")

    async def _claimed(self, job_id: int, worker: str, seconds: int) -> Uploads:
        token = secrets.token_urlsafe(24)
        now = self._clock()
        job = await self._jobs.change(
            job_id,
            lambda job: self._granted(leases.claimed(job, worker, token, seconds, now)),
        )
        await self._told()
        metrics.CLAIMED.inc()
        return self._signed(job)

    async def renew(
        self,
        caller: Caller,
        job_id: int,
        token: str,
        seconds: int | None,
        *,
        status: domain.Status | None,
        pipeline_stage: str | None,
        live_status_json: bytes | None,
    ) -> Job:
        """Prolong a lease. Raises `NotFoundError`, `LeaseLostError`, `JobStateError`,
        `InvalidFieldError`.
        """
        held = leases.lease_seconds(seconds)
        if pipeline_stage is not None:
            domain.short(pipeline_stage, "pipeline_stage", domain.WORD_CHARS)
        return await self._change(
            caller,
            job_id,
            lambda job: leases.renewed(
                job,
                token,
                held,
                self._clock(),
                status=status,
                pipeline_stage=pipeline_stage,
                live_status_json=live_status_json,
            ),
        )

    async def complete(
        self,
        caller: Caller,
        job_id: int,
        token: str,
        produced: Sequence[Produced],
        *,
        key_insight: str | None,
        result_structured_json: bytes | None,
        markets_config_json: bytes | None,
    ) -> Job:
        """Look at what has arrived; make it available, and let the report be written.

        Raises `NotFoundError`, `LeaseLostError`, `JobStateError`, `SimDataUploadFailedError`,
        `ObjectStorageNotConfiguredError`, `InvalidFieldError`.
        """
        leases.known_files(produced)
        if key_insight is not None:
            domain.short(key_insight, "key_insight", domain.INSIGHT_CHARS)
        if self._artifacts is None:
            raise ObjectStorageNotConfiguredError
        # First as if all had arrived: who has no lease is not to have the store asked.
        job = await self._job(caller, job_id)
        if leases.delivered(job, token, (), self._clock()) is job:
            return job
        files = leases.arrived(job, produced, await self._artifacts.arrived(job_id))
        done = await self._change(
            caller,
            job_id,
            lambda job: leases.delivered(
                job,
                token,
                files,
                self._clock(),
                key_insight=key_insight,
                result_structured_json=result_structured_json,
                markets_config_json=markets_config_json,
            ),
        )
        metrics.ENDED.labels("delivered").inc()
        return done

    async def fail(self, caller: Caller, job_id: int, token: str, error: str) -> Job:
        """End a job as failed. Raises `NotFoundError`, `LeaseLostError`, `JobStateError`."""
        why = domain.word(error, "error", domain.ERROR_CHARS)
        failed = await self._change(
            caller, job_id, lambda job: domain.failed(job, why, self._clock(), token=token)
        )
        metrics.ENDED.labels("failed").inc()
        return failed

    async def resume(self, caller: Caller, job_id: int) -> Uploads:
        """Sign upload URLs again, for a service caller. Raises `NotFoundError`, `JobStateError`."""
        job = await self._change(caller, job_id, lambda job: leases.resumed(job, self._clock()))
        return self._signed(job) if caller.is_service else Uploads(job, None)

    async def _job(self, caller: Caller, job_id: int) -> Job:
        job = await self._jobs.find(job_id)
        if job is None:
            raise NotFoundError("job", str(job_id))
        return domain.require_owner(job, caller)

    async def _change(self, caller: Caller, job_id: int, change: Callable[[Job], Job]) -> Job:
        job = await self._jobs.change(job_id, lambda job: change(domain.require_owner(job, caller)))
        await self._told()
        return job

    def _granted(self, job: Job) -> Job:
        return job if self._artifacts is None else leases.granted(job, self._clock())

    def _signed(self, job: Job) -> Uploads:
        artifacts = self._artifacts
        return Uploads(job, None if artifacts is None else artifacts.upload_urls(job.id))
