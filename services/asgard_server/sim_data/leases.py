"""The rules of those who work on a job for a while: a worker, and who writes its report.

Pure, like domain.py. Each has a lease, and what one says whose lease another has got is not heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.job_errors import (
    JobClaimedError,
    JobStateError,
    LeaseLostError,
    SimDataUploadFailedError,
)

from asgard_server.sim_data.domain import (
    FILES,
    MARGIN,
    MOST_CLAIMS,
    UPLOAD_SECONDS,
    WORKED_ON,
    Arrived,
    Artifact,
    Job,
    Produced,
    Status,
    failed,
    moved,
    require,
)

LEASE_SECONDS = 300
# For how long a worker whose lease has ended is waited for.
GRACE = MARGIN
SHORTEST_LEASE, LONGEST_LEASE = 10, 24 * 3_600
# How long a report that failed for a passing reason waits to be tried again.
REPORT_PAUSES = (30, 120, 300, 900, 1_800)


# Working ------------------------------------------------------------------------------


def claimable(job: Job, now: datetime) -> bool:
    """Whether it waits for a worker: nobody holds it, and not too many have."""
    if job.status == "pending":
        return True
    return job.status in WORKED_ON and not _held(job, now) and job.claims < MOST_CLAIMS


def _held(job: Job, now: datetime) -> bool:
    return job.lease_until is not None and now < job.lease_until


def claimed(job: Job, worker: str, token: str, seconds: int, now: datetime) -> Job:
    """The job as this worker holds it; its own again keeps its token.

    Raises `JobClaimedError`, `JobStateError`.
    """
    require(job, ("pending", *WORKED_ON), "only one that waits can be claimed")
    mine = job.worker == worker and job.lease_token is not None
    if job.claims >= MOST_CLAIMS and not _held(job, now):
        raise JobStateError(job.id, job.status, f"{MOST_CLAIMS} workers of it have vanished")
    if not claimable(job, now) and not mine and job.lease_until is not None:
        raise JobClaimedError(job.id, job.lease_until)
    held = replace(
        job,
        worker=worker,
        lease_token=job.lease_token if mine else token,
        lease_until=now + timedelta(seconds=seconds),
        # Asked again by a worker that holds it, it is the same claim.
        claims=job.claims + (not (mine and _held(job, now))),
    )
    return moved(held, "provisioning" if job.status == "pending" else job.status, now)


def renewed(
    job: Job,
    token: str,
    seconds: int,
    now: datetime,
    *,
    status: Status | None = None,
    pipeline_stage: str | None = None,
    live_status_json: bytes | None = None,
) -> Job:
    """The job with its lease prolonged. Raises `LeaseLostError`, `JobStateError`.

    A lease that has ended is still this worker's until another claims the job.
    """
    _require_lease(job, token)
    require(job, WORKED_ON, "its work has ended")
    after = replace(
        job,
        lease_until=now + timedelta(seconds=seconds),
        pipeline_stage=job.pipeline_stage if pipeline_stage is None else pipeline_stage,
        live_status_json=live_status_json or job.live_status_json,
    )
    return moved(after, status or job.status, now)


def given_up(job: Job, now: datetime) -> Job:
    """The job, failed when its workers have vanished for good; else the same job.

    A lease that has ended may be renewed, or another worker may claim the job: until the last of
    so many has had his time, or no URL is good any more to upload its files with.
    """
    if job.status not in WORKED_ON or job.lease_until is None or now < job.lease_until + GRACE:
        return job
    if job.claims >= MOST_CLAIMS:
        return failed(job, f"worker_lost: {job.claims} workers have let their lease end", now)
    uploads_end = job.grants_until or job.lease_until + timedelta(seconds=UPLOAD_SECONDS)
    if now < uploads_end + GRACE:
        return job
    return failed(job, "worker_lost: its lease has ended, and so have its upload URLs", now)


def granted(job: Job, now: datetime) -> Job:
    """The job, for which upload URLs are signed now."""
    until = now + timedelta(seconds=UPLOAD_SECONDS)
    return replace(job, grants_until=max(job.grants_until or until, until))


def resumed(job: Job, now: datetime) -> Job:
    """A job that goes on, for which URLs are signed again. Raises `JobStateError`."""
    require(job, ("pending", *WORKED_ON), "only one that goes on can be resumed")
    return replace(granted(job, now), updated_at=now)


def arrived(job: Job, produced: Sequence[Produced], found: Sequence[Arrived]) -> list[Artifact]:
    """The files of a job that have arrived. Raises `SimDataUploadFailedError`.

    A file that is older than the job is what another job of this number has left behind.
    """
    there = {
        each.artifact.name: each.artifact
        for each in found
        if each.artifact.name in FILES and each.modified_at >= job.created_at - MARGIN
    }
    missing = [
        each.name
        for each in produced
        if each.name not in there or each.size_bytes not in (None, there[each.name].size_bytes)
    ]
    if missing or not there:
        raise SimDataUploadFailedError(job.id, tuple(missing))
    return [there[name] for name in FILES if name in there]


def delivered(
    job: Job,
    token: str,
    files: Sequence[Artifact],
    now: datetime,
    *,
    key_insight: str | None = None,
    result_structured_json: bytes | None = None,
    markets_config_json: bytes | None = None,
) -> Job:
    """The job whose files are there, and whose report is to be written.

    Raises `LeaseLostError`, `JobStateError`. A repeat answers the job as it is.
    """
    _require_lease(job, token)
    if job.sim_data_available:
        return job
    require(job, WORKED_ON, "its work has ended")
    done = replace(
        job,
        sim_data_available=True,
        files=tuple(files),
        lease_until=None,
        key_insight=key_insight if key_insight is not None else job.key_insight,
        result_structured_json=result_structured_json or job.result_structured_json,
        markets_config_json=markets_config_json or job.markets_config_json,
        report_at=now,
    )
    return moved(done, "reporting", now)


# The report ---------------------------------------------------------------------------


def report_due(job: Job, now: datetime) -> bool:
    """Whether somebody is to write its report: the time has come, and nobody is at it."""
    return (
        job.status == "reporting"
        and job.deleted_at is None
        and (job.report_at is None or job.report_at <= now)
        and (job.report_lease_until is None or job.report_lease_until <= now)
    )


def report_begun(job: Job, worker: str, until: datetime, now: datetime) -> Job:
    """The job whose report this process writes; the same job when that is not due.

    An attempt counts when it begins: one that ends its process is one, too.
    """
    if not report_due(job, now):
        return job
    if job.report_attempts > len(REPORT_PAUSES):
        return failed(job, "report_generation_failed: it ended its process each time", now)
    return replace(
        job,
        report_worker=worker,
        report_lease_until=until,
        report_attempts=job.report_attempts + 1,
    )


def report_prolonged(job: Job, worker: str, until: datetime) -> Job:
    """The job with the lease of its report prolonged; the same job when another has it."""
    if not _reports(job, worker):
        return job
    return replace(job, report_lease_until=until)


def reported(job: Job, worker: str, markdown: str, now: datetime) -> Job:
    """The job, completed; the same job when another writes its report."""
    if not _reports(job, worker):
        return job
    done = replace(job, result_report=markdown, completed_at=now, report_lease_until=None)
    return moved(done, "completed", now)


def report_failed(job: Job, worker: str, why: str, now: datetime, *, passing: bool) -> Job:
    """The job after an attempt that failed: to be tried again, or failed for good."""
    if not _reports(job, worker):
        return job
    if not passing or job.report_attempts > len(REPORT_PAUSES):
        return failed(job, f"report_generation_failed: {why}", now)
    pause = REPORT_PAUSES[job.report_attempts - 1]
    return replace(job, report_at=now + timedelta(seconds=pause), report_lease_until=None)


def _reports(job: Job, worker: str) -> bool:
    return job.status == "reporting" and job.report_worker == worker


def known_files(produced: Sequence[Produced]) -> list[Produced]:
    """Answer the files. Raises `InvalidFieldError` for a name that is not one of SimSwarm's."""
    for place, each in enumerate(produced):
        if each.name not in FILES:
            raise InvalidFieldError(
                f"files[{place}].name", f"is {each.name[:80]!r}", f"give one of {', '.join(FILES)}"
            )
    return list(produced)


def lease_seconds(seconds: int | None) -> int:
    """How long a lease holds. Raises `InvalidFieldError`."""
    if seconds is None:
        return LEASE_SECONDS
    if not SHORTEST_LEASE <= seconds <= LONGEST_LEASE:
        raise InvalidFieldError(
            "lease_duration", f"is {seconds} s", f"give {SHORTEST_LEASE} s to 24 h (86400s)"
        )
    return seconds


def _require_lease(job: Job, token: str) -> None:
    if not token or token != job.lease_token:
        raise LeaseLostError(job.id)
