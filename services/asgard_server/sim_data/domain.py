"""The rules of jobs: what may become of one, who may do it, what is taken.

Pure: functions over rows that return new ones or raise errors that carry their data. Nothing
here knows gRPC, S3 or SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.job_errors import (
    DemoModeError,
    JobClaimedError,
    JobNotRetryableError,
    JobStateError,
    LeaseLostError,
    NotYoursError,
    SeedTooLongError,
    SimDataUploadFailedError,
)

Status = Literal[
    "draft",
    "pending",
    "provisioning",
    "running",
    "reporting",
    "completed",
    "failed",
    "refunded",
]
Tier = Literal["small", "medium", "large"]

# What a job may leave behind: SIM_DATA_FILES of simswarm.storage.
FILES = (
    "market_curves.json",
    "agent_trajectories.json",
    "engagement_summary.json",
    "top_posts.json",
    "posts.json",
    "trades.json",
    "social_graph.json",
    "profiles.json",
    "chat_log.json",
    "relations.json",
)
# Without one of these no report can be written.
REQUIRED_FILES = ("chat_log.json", "posts.json", "trades.json", "agent_trajectories.json")

UPLOAD_SECONDS = 14 * 3_600
DOWNLOAD_SECONDS = 3_600
# The same job within this time is the same request.
DUPLICATE_SECONDS = 60
LEASE_SECONDS = 300
SHORTEST_LEASE, LONGEST_LEASE = 10, 24 * 3_600
# Clocks differ, and a request that began in time may end later.
MARGIN = timedelta(minutes=15)

GOAL_CHARS = 10_000
WORD_CHARS = 200
ERROR_CHARS = 2_000
LIVE_BYTES = 64 << 10
JSON_BYTES = 1 << 20

# How long a report that failed for a passing reason waits to be tried again.
REPORT_PAUSES = (30, 120, 300, 900, 1_800)

# What may become of a job. Failing is allowed from everywhere but the end; `refunded` is of
# databases older than this service.
_NEXT: dict[Status, frozenset[Status]] = {
    "draft": frozenset({"pending", "failed"}),
    "pending": frozenset({"provisioning", "failed"}),
    "provisioning": frozenset({"running", "reporting", "failed"}),
    "running": frozenset({"reporting", "failed"}),
    "reporting": frozenset({"completed", "failed"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "refunded": frozenset(),
}
LIVE: tuple[Status, ...] = ("pending", "provisioning", "running", "reporting")
WORKED_ON: tuple[Status, ...] = ("provisioning", "running")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. A service caller works on everybody's jobs: a workflow, a worker."""

    user_id: str
    is_service: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a job as the store had it."""

    name: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that lies in the store now. `modified_at` is by the store's clock."""

    artifact: Artifact
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Produced:
    """A file that a worker says it has produced."""

    name: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator has set."""

    seed_chars: int = 50_000
    demo_mode: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: the fields of a job that its owner gives. None: not said."""

    seed_text: str | None = None
    goal: str | None = None
    tier: Tier | None = None
    enrich_web: bool | None = None
    forecast_days: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the table of jobs. Fields that end in `_json` are JSON texts.

    `lease_token` is known to the worker that has claimed the job. `grants_until`: the moment from
    which no upload URL that was given out can change its files any more. `report_lease_until` is
    the same for the process that writes the report, `report_at` when that may be tried next.
    `deleted_at`: it is gone for everybody, and its files are being removed; `emptied`: they are.
    """

    id: int
    owner: str
    status: Status
    created_at: datetime
    updated_at: datetime
    seed_text: str = ""
    goal: str = ""
    tier: Tier | None = None
    enrich_web: bool = True
    forecast_days: int | None = None
    pipeline_stage: str | None = None
    live_status_json: bytes | None = None
    markets_config_json: bytes | None = None
    result_report: str | None = None
    result_structured_json: bytes | None = None
    key_insight: str | None = None
    error: str | None = None
    sim_data_available: bool = False
    files: tuple[Artifact, ...] = ()
    retry_of: int | None = None
    superseded_by: int | None = None
    share_token: str | None = None
    worker: str | None = None
    lease_token: str | None = None
    lease_until: datetime | None = None
    grants_until: datetime | None = None
    report_worker: str | None = None
    report_attempts: int = 0
    report_at: datetime | None = None
    report_lease_until: datetime | None = None
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    emptied: bool = False


# Beginning ----------------------------------------------------------------------------


def draft(wish: Wish, owner: str, now: datetime) -> Job:
    """A job whose fields may be missing. Its id is the store's to give. Raises as `asked` does."""
    blank = Job(id=0, owner=owner, status="draft", created_at=now, updated_at=now)
    return _wished(blank, wish)


def asked(wish: Wish, owner: str, limits: Limits, now: datetime) -> Job:
    """A job that can be worked on.

    Raises `InvalidFieldError`, then `DemoModeError`, then `SeedTooLongError`.
    """
    return replace(_whole(draft(wish, owner, now), limits), status="pending")


def edited(job: Job, wish: Wish, now: datetime) -> Job:
    """A draft with the fields changed that are said. Raises `JobStateError`."""
    _require(job, ("draft",), "only a draft can be changed")
    return replace(_wished(job, wish), updated_at=now)


def launched(job: Job, limits: Limits, now: datetime) -> Job:
    """The job that a draft becomes. Raises `JobStateError`, and as `asked` does."""
    _require(job, ("draft",), "only a draft can be launched")
    return _moved(_whole(job, limits), "pending", now)


def retried(job: Job, now: datetime) -> Job:
    """Another attempt of a job that failed. Raises `JobNotRetryableError`."""
    if job.status not in ("failed", "refunded") or job.superseded_by is not None:
        raise JobNotRetryableError(job.id, job.status, job.superseded_by)
    wish = Wish(job.seed_text, job.goal, job.tier, job.enrich_web, job.forecast_days)
    return replace(draft(wish, job.owner, now), status="pending", retry_of=job.id)


# Working ------------------------------------------------------------------------------


def claimable(job: Job, now: datetime) -> bool:
    """Whether it waits for a worker: nobody holds it."""
    held = job.lease_until is not None and now < job.lease_until
    return job.status == "pending" or (job.status in WORKED_ON and not held)


def claimed(job: Job, worker: str, token: str, seconds: int, now: datetime) -> Job:
    """The job as this worker holds it; its own again keeps its token.

    Raises `JobClaimedError`, `JobStateError`.
    """
    _require(job, ("pending", *WORKED_ON), "only one that waits can be claimed")
    mine = job.worker == worker and job.lease_token is not None
    if not claimable(job, now) and not mine and job.lease_until is not None:
        raise JobClaimedError(job.id, job.lease_until)
    held = replace(
        job,
        worker=worker,
        lease_token=job.lease_token if mine else token,
        lease_until=now + timedelta(seconds=seconds),
    )
    return _moved(held, "provisioning" if job.status == "pending" else job.status, now)


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
    _require(job, WORKED_ON, "its work has ended")
    after = replace(
        job,
        lease_until=now + timedelta(seconds=seconds),
        pipeline_stage=job.pipeline_stage if pipeline_stage is None else pipeline_stage,
        live_status_json=live_status_json or job.live_status_json,
    )
    return _moved(after, status or job.status, now)


def granted(job: Job, now: datetime) -> Job:
    """The job, for which upload URLs are signed now."""
    until = now + timedelta(seconds=UPLOAD_SECONDS)
    return replace(job, grants_until=max(job.grants_until or until, until))


def resumed(job: Job, now: datetime) -> Job:
    """A job that goes on, for which URLs are signed again. Raises `JobStateError`."""
    _require(job, ("pending", *WORKED_ON), "only one that goes on can be resumed")
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
    _require(job, WORKED_ON, "its work has ended")
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
    return _moved(done, "reporting", now)


def failed(job: Job, error: str, now: datetime, *, token: str | None = None) -> Job:
    """The job, failed. Raises `JobStateError`; `LeaseLostError` with a token that is not its own.

    None for a token is who needs none: this service.
    """
    if job.status in ("failed", "refunded"):
        return job
    held = job.lease_until is not None and now < job.lease_until
    if token is not None and (token or held) and token != job.lease_token:
        raise LeaseLostError(job.id)
    return replace(
        _moved(job, "failed", now), error=error[:ERROR_CHARS], completed_at=now, lease_until=None
    )


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
    return _moved(done, "completed", now)


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


# Ending and sharing -------------------------------------------------------------------


def deleted(job: Job, now: datetime) -> Job:
    """The job, gone for everybody; a repeat answers it as it is."""
    return job if job.deleted_at is not None else replace(job, deleted_at=now, lease_until=None)


def forgettable(job: Job, now: datetime) -> bool:
    """Whether no URL can bring files of this deleted job any more: its row can go."""
    return job.grants_until is None or job.grants_until + MARGIN <= now


def shared(job: Job, token: str, now: datetime) -> Job:
    """The job with a link; the one that it has."""
    return job if job.share_token else replace(job, share_token=token, updated_at=now)


def unshared(job: Job, now: datetime) -> Job:
    """The job without a link."""
    return job if job.share_token is None else replace(job, share_token=None, updated_at=now)


# Checks -------------------------------------------------------------------------------


def require_owner(job: Job, caller: Caller) -> Job:
    """Answer the job. Raises `NotYoursError` unless it is the caller's, who may be a service."""
    if not may_read(job, caller):
        raise NotYoursError(job.id)
    return job


def may_read(job: Job, caller: Caller) -> bool:
    """Whether a job is the caller's, who may be a service."""
    return caller.is_service or job.owner == caller.user_id


def lease_seconds(seconds: int | None) -> int:
    """How long a lease holds. Raises `InvalidFieldError`."""
    if seconds is None:
        return LEASE_SECONDS
    if not SHORTEST_LEASE <= seconds <= LONGEST_LEASE:
        raise InvalidFieldError(
            "lease_duration", f"is {seconds} s", f"give {SHORTEST_LEASE} s to 24 h (86400s)"
        )
    return seconds


def allowed(limits: Limits) -> None:
    """Raise `DemoModeError` where no jobs are made."""
    if limits.demo_mode:
        raise DemoModeError


def word(text: str, field: str, most: int = WORD_CHARS) -> str:
    """Answer a text that must not be blank. Raises `InvalidFieldError`."""
    if not text.strip():
        raise InvalidFieldError(field, "is blank", "say something")
    return short(text, field, most)


def short(text: str, field: str, most: int) -> str:
    """Answer a text. Raises `InvalidFieldError` for a long one, and for one with a NUL."""
    if "\0" in text:
        raise InvalidFieldError(field, "contains a NUL character", "leave it out")
    if len(text) > most:
        raise InvalidFieldError(field, f"has {len(text):,} characters", f"give at most {most:,}")
    return text


def known_files(produced: Sequence[Produced]) -> list[Produced]:
    """Answer the files. Raises `InvalidFieldError` for a name that is not one of SimSwarm's."""
    for place, each in enumerate(produced):
        if each.name not in FILES:
            raise InvalidFieldError(
                f"files[{place}].name", f"is {each.name[:80]!r}", f"give one of {', '.join(FILES)}"
            )
    return list(produced)


def _wished(job: Job, wish: Wish) -> Job:
    """The job with what is said. Raises `InvalidFieldError`."""
    said = {
        "seed_text": wish.seed_text,
        "goal": wish.goal,
        "tier": wish.tier,
        "enrich_web": wish.enrich_web,
        "forecast_days": wish.forecast_days,
    }
    if wish.forecast_days is not None and not 1 <= wish.forecast_days <= 365:
        raise InvalidFieldError("forecast_days", f"is {wish.forecast_days}", "give 1 to 365")
    if wish.goal is not None:
        short(wish.goal, "goal", GOAL_CHARS)
    if wish.seed_text is not None and "\0" in wish.seed_text:
        raise InvalidFieldError("seed_text", "contains a NUL character", "leave it out")
    return replace(job, **{name: value for name, value in said.items() if value is not None})


def _whole(job: Job, limits: Limits) -> Job:
    if not job.seed_text.strip():
        raise InvalidFieldError("seed_text", "is blank", "say what the simulation begins with")
    if job.tier is None:
        raise InvalidFieldError("tier", "is missing", "give small, medium or large")
    if job.forecast_days is None:
        raise InvalidFieldError("forecast_days", "is missing", "give 1 to 365")
    allowed(limits)
    if len(job.seed_text) > limits.seed_chars:
        raise SeedTooLongError(len(job.seed_text), limits.seed_chars)
    return job


def _moved(job: Job, status: Status, now: datetime) -> Job:
    if status != job.status and status not in _NEXT[job.status]:
        raise JobStateError(job.id, job.status, f"it cannot become {status}")
    return replace(job, status=status, updated_at=now)


def _require(job: Job, statuses: Sequence[Status], wanted: str) -> None:
    if job.status not in statuses:
        raise JobStateError(job.id, job.status, wanted)


def _require_lease(job: Job, token: str) -> None:
    if not token or token != job.lease_token:
        raise LeaseLostError(job.id)
