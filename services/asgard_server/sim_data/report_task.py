"""The report task: reads what a simulation has left behind, writes report.md, completes the job.

It runs beside the service. Of several processes one writes a report: it has a lease, which it
prolongs; when it is killed, another begins anew after that. All is repeatable: until the row says
that the job is completed nothing was promised.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar, cast

import orjson
import structlog
from gimle.asgard.core.errors import AsgardError, NotFoundError
from gimle.asgard.core.signing import Signer
from simswarm.storage import ArtifactMissingError, ArtifactStore

from asgard_server.sim_data import domain, leases, metrics
from asgard_server.sim_data.domain import Job
from asgard_server.sim_data.store import Jobs, Reports, Upkeep

T = TypeVar("T")

LEASE_SECONDS = 30.0
POLL_SECONDS = 1.0
AT_ONCE = 2
_BEATS = 3  # in a lease


class ReportRunner(Protocol):
    """Writes the report of one job. Called in a thread; it may take its time.

    `fetch` reads a file of the job by its name, and `put` stores the report. What `fetch` raises
    for a file that is missing ends the job, and so does a ValueError, which should name the file
    that cannot be read; any other exception is taken to pass, and the report is tried again later.
    """

    def __call__(
        self,
        job: Mapping[str, object],
        fetch: Callable[[str], bytes],
        put: Callable[[str], None],
    ) -> None:
        """Write the report of `job`, which is as /api/jobs/{job_id} shows it."""


def plain_report(
    job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
) -> None:
    """The default runner: a Markdown report computed from what agents said and traded."""
    from simswarm.report import write_report

    put(write_report(job, *(fetch(name) for name in domain.REQUIRED_FILES)))


class _MissingError(Exception):
    """A file that the report needs is not there."""


class StoredReports:
    """Fetch and put against a store: `fetch_artifact` and `put_report_md` of simswarm.storage."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    @classmethod
    def signed_by(cls, signer: Signer, bucket: str) -> StoredReports:
        """A bucket of the store that `signer` signs requests for."""
        return cls(ArtifactStore.signed_by(signer, bucket))

    def fetch(self, job_id: int, name: str) -> bytes:
        """Read a file of a job. Raises `FileNotFoundError`, TransferError."""
        try:
            return self._store.fetch_artifact(job_id, name)
        except ArtifactMissingError as error:
            raise FileNotFoundError(name) from error

    def put(self, job_id: int, markdown: str) -> None:
        """Write the job's report.md. Raises TransferError."""
        self._store.put_report_md(job_id, markdown)


class Reporter:
    """Writes reports, a few at a time. `replica` is a name that no other process has."""

    def __init__(
        self,
        jobs: Jobs,
        upkeep: Upkeep,
        reports: Reports,
        runner: ReportRunner,
        clock: Callable[[], datetime],
        told: Callable[[], Awaitable[None]],
        *,
        replica: str,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._jobs = jobs
        self._upkeep = upkeep
        self._reports = reports
        self._runner = runner
        self._clock = clock
        self._told = told
        self._replica = replica
        self._lease = lease_seconds
        self._log = structlog.get_logger("asgard.report")

    async def run(self) -> None:
        """Write reports until cancelled."""
        working: set[asyncio.Task[None]] = set()
        try:
            while True:
                working = {task for task in working if not task.done()}
                try:
                    free = AT_ONCE - len(working)
                    for job_id in (
                        await self._upkeep.unreported(self._clock(), free) if free else ()
                    ):
                        working.add(asyncio.create_task(self._guarded(job_id)))
                except AsgardError as error:
                    self._log.warning("no reports are written", error=str(error))
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _guarded(self, job_id: int) -> None:
        with suppress(NotFoundError):  # deleted meanwhile
            try:
                await self.report(job_id)
            except AsgardError as error:  # its lease ends, and somebody tries again
                self._log.warning("a report was given up", job_id=job_id, error=str(error))

    async def report(self, job_id: int) -> None:
        """Write the report of a job, if it is due. Raises what the table of jobs does."""
        until = self._until()
        job = await self._jobs.change(
            job_id, lambda job: leases.report_begun(job, self._replica, until, self._clock())
        )
        await self._told()
        if job.report_worker != self._replica or job.report_lease_until != until:
            return  # another is faster, or there have been too many attempts
        beating = asyncio.create_task(self._beat(job_id))
        try:
            outcome = await _apart(partial(self._attempt, job))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        await self._jobs.change(job_id, outcome)
        await self._told()

    def _attempt(self, job: Job) -> Callable[[Job], Job]:
        """Run the runner, in a thread; answer what becomes of the job."""
        written: list[str] = []

        def fetch(name: str) -> bytes:
            try:
                return self._reports.fetch(job.id, name)
            except FileNotFoundError as error:
                raise _MissingError(name) from error

        def put(markdown: str) -> None:
            written.append(markdown)
            try:
                self._reports.put(job.id, markdown)
            except Exception as error:  # noqa: BLE001 - the row has the report; the file is a copy
                self._log.warning("report.md is not stored", job_id=job.id, error=str(error))

        try:
            for name in domain.REQUIRED_FILES:
                if all(each.name != name for each in job.files):
                    raise _MissingError(name)
            self._runner(shown(job), fetch, put)
            if not written:
                raise ValueError("the runner has put no report")
        except (_MissingError, ValueError) as error:
            return self._ended(job, str(error), passing=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            self._log.warning("a report failed", job_id=job.id, error=repr(error))
            return self._ended(job, str(error) or type(error).__name__, passing=True)
        metrics.REPORTS.labels("written").inc()
        return lambda job: leases.reported(job, self._replica, written[-1], self._clock())

    def _ended(self, job: Job, why: str, *, passing: bool) -> Callable[[Job], Job]:
        again = passing and job.report_attempts <= len(leases.REPORT_PAUSES)
        metrics.REPORTS.labels("again" if again else "failed").inc()
        return lambda job: leases.report_failed(
            job, self._replica, why, self._clock(), passing=passing
        )

    async def _beat(self, job_id: int) -> None:
        while True:
            await asyncio.sleep(self._lease / _BEATS)
            prolong = partial(leases.report_prolonged, worker=self._replica, until=self._until())
            with suppress(AsgardError):  # a beat that fails is tried again before the lease ends
                await self._jobs.change(job_id, prolong)

    def _until(self) -> datetime:
        return self._clock() + timedelta(seconds=self._lease)


async def _apart(work: Callable[[], T]) -> T:
    """Do what may take long in a thread of its own, for which no process waits at its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(answer: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(T, answer))

    def run() -> None:
        answer: T | None = None
        error: BaseException | None = None
        try:
            answer = work()
        except BaseException as raised:  # noqa: BLE001 - it is the waiter's
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, answer, error)

    threading.Thread(target=run, name="asgard-report", daemon=True).start()
    return await done


def shown(job: Job) -> dict[str, object]:
    """A job as its runner sees it: plain values, JSON parsed, times in RFC 3339."""
    parsed = {
        "markets_config": job.markets_config_json,
        "result_structured": job.result_structured_json,
    }
    return {
        "id": job.id,
        "user_id": job.owner,
        "seed_text": job.seed_text,
        "goal": job.goal,
        "tier": job.tier,
        "enrich_web": job.enrich_web,
        "forecast_days": job.forecast_days,
        "key_insight": job.key_insight,
        "created_at": job.created_at.astimezone(UTC).isoformat(),
        **{name: None if text is None else orjson.loads(text) for name, text in parsed.items()},
    }
