"""The rules of asking for a job: what must be said, drafts, other attempts. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.job_errors import DemoModeError, JobNotRetryableError, SeedTooLongError

from asgard_server.sim_data.domain import Job, Limits, Wish, moved, require, short

GOAL_CHARS = 10_000


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
    require(job, ("draft",), "only a draft can be changed")
    return replace(_wished(job, wish), updated_at=now)


def launched(job: Job, limits: Limits, now: datetime) -> Job:
    """The job that a draft becomes. Raises `JobStateError`, and as `asked` does."""
    require(job, ("draft",), "only a draft can be launched")
    return moved(_whole(job, limits), "pending", now)


def retried(job: Job, now: datetime) -> Job:
    """Another attempt of a job that failed. Raises `JobNotRetryableError`."""
    if job.status not in ("failed", "refunded") or job.superseded_by is not None:
        raise JobNotRetryableError(job.id, job.status, job.superseded_by)
    wish = Wish(job.seed_text, job.goal, job.tier, job.enrich_web, job.forecast_days)
    return replace(draft(wish, job.owner, now), status="pending", retry_of=job.id)


def allowed(limits: Limits) -> None:
    """Raise `DemoModeError` where no jobs are made."""
    if limits.demo_mode:
        raise DemoModeError


def _wished(job: Job, wish: Wish) -> Job:
    """The job with what is said. Raises `InvalidFieldError`."""
    if wish.forecast_days is not None and not 1 <= wish.forecast_days <= 365:
        raise InvalidFieldError("forecast_days", f"is {wish.forecast_days}", "give 1 to 365")
    if wish.goal is not None:
        short(wish.goal, "goal", GOAL_CHARS)
    if wish.seed_text is not None and "\0" in wish.seed_text:
        raise InvalidFieldError("seed_text", "contains a NUL character", "leave it out")
    return replace(
        job,
        seed_text=job.seed_text if wish.seed_text is None else wish.seed_text,
        goal=job.goal if wish.goal is None else wish.goal,
        tier=wish.tier or job.tier,
        enrich_web=job.enrich_web if wish.enrich_web is None else wish.enrich_web,
        forecast_days=wish.forecast_days or job.forecast_days,
    )


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
