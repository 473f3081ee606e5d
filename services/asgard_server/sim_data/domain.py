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
    JobStateError,
    LeaseLostError,
    NotYoursError,
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
# Clocks differ, and a request that began in time may end later.
MARGIN = timedelta(minutes=15)
# Workers of one job that may vanish.
MOST_CLAIMS = 5
LONGEST_REPORT = timedelta(hours=24)

WORD_CHARS = 200
INSIGHT_CHARS = 10_000
ERROR_CHARS = 2_000
LIVE_BYTES = 64 << 10
JSON_BYTES = 1 << 20

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

    `lease_token` is known to the worker that has claimed the job, `claims` is how often one has.
    `grants_until`: the moment from
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
    claims: int = 0
    grants_until: datetime | None = None
    report_worker: str | None = None
    report_attempts: int = 0
    report_at: datetime | None = None
    report_lease_until: datetime | None = None
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    emptied: bool = False


# Changes of any job -------------------------------------------------------------------


def failed(job: Job, error: str, now: datetime, *, token: str | None = None) -> Job:
    """The job, failed. Raises `JobStateError`; `LeaseLostError` with a token that is not its own.

    None for a token is who needs none: this service. A worker's word ends with its completion.
    """
    if job.status in ("failed", "refunded"):
        return job
    held = job.lease_until is not None and now < job.lease_until
    if token is not None and (token or held) and token != job.lease_token:
        raise LeaseLostError(job.id)
    if token and job.sim_data_available:
        # A worker that has not heard the answer to its completion, say.
        raise JobStateError(job.id, job.status, "its worker has completed it: its files are there")
    return replace(
        moved(job, "failed", now), error=error[:ERROR_CHARS], completed_at=now, lease_until=None
    )


# Ending and sharing -------------------------------------------------------------------


def deleted(job: Job, now: datetime) -> Job:
    """The job, gone for everybody; a repeat answers it as it is.

    Somebody who is just writing its report may still put that: as if a URL held for so long. The
    row stays for a while, and says whose it was: what it was asked and what came of it goes now.
    """
    if job.deleted_at is not None:
        return job
    until = job.grants_until
    if job.status == "reporting":
        until = max(until or now, now + LONGEST_REPORT)
    emptied = replace(
        job,
        seed_text="",
        goal="",
        live_status_json=None,
        markets_config_json=None,
        result_report=None,
        result_structured_json=None,
        key_insight=None,
        error=None,
        share_token=None,
    )
    return replace(emptied, deleted_at=now, lease_until=None, grants_until=until)


def settled(job: Job, now: datetime) -> bool:
    """Whether no URL can bring files of this deleted job any more."""
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


def moved(job: Job, status: Status, now: datetime) -> Job:
    """The job in another state. Raises `JobStateError` where there is no such way."""
    if status != job.status and status not in _NEXT[job.status]:
        raise JobStateError(job.id, job.status, f"it cannot become {status}")
    return replace(job, status=status, updated_at=now)


def require(job: Job, statuses: Sequence[Status], wanted: str) -> None:
    """Raise `JobStateError`, which says what is wanted, unless a job is in one of these states."""
    if job.status not in statuses:
        raise JobStateError(job.id, job.status, wanted)
