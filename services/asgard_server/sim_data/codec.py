"""Between the messages of sim_data_service.proto and the rows. Nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import job_pb2
from gimle.asgard.v1 import sim_data_service_pb2 as pb

from asgard_server.rpc.fields import optional, timestamp
from asgard_server.sim_data.domain import (
    JSON_BYTES,
    LIVE_BYTES,
    UPLOAD_SECONDS,
    Job,
    Produced,
    Status,
    Tier,
    Wish,
)
from asgard_server.sim_data.working import Uploads

_STATUSES: dict[Status, job_pb2.Job.Status.ValueType] = {
    "draft": job_pb2.Job.STATUS_DRAFT,
    "pending": job_pb2.Job.STATUS_PENDING,
    "provisioning": job_pb2.Job.STATUS_PROVISIONING,
    "running": job_pb2.Job.STATUS_RUNNING,
    "reporting": job_pb2.Job.STATUS_REPORTING,
    "completed": job_pb2.Job.STATUS_COMPLETED,
    "failed": job_pb2.Job.STATUS_FAILED,
    "refunded": job_pb2.Job.STATUS_REFUNDED,
}
_TIERS: dict[Tier, job_pb2.Job.Tier.ValueType] = {
    "small": job_pb2.Job.TIER_SMALL,
    "medium": job_pb2.Job.TIER_MEDIUM,
    "large": job_pb2.Job.TIER_LARGE,
}
_TIER_OF = {number: tier for tier, number in _TIERS.items()}
# What a worker may say of itself.
_SAID: dict[job_pb2.Job.Status.ValueType, Status] = {
    job_pb2.Job.STATUS_PROVISIONING: "provisioning",
    job_pb2.Job.STATUS_RUNNING: "running",
}


def seconds(message: Any) -> int | None:
    """The duration of a lease in whole seconds; None when absent."""
    found = optional(message, "lease_duration")
    return None if found is None else int(found.seconds)


def wish(request: pb.CreateJobRequest) -> Wish:
    """What is asked for of a whole job: nothing is left unsaid but the search of the web."""
    return Wish(
        request.seed_text,
        request.goal,
        _tier(request.tier),
        optional(request, "enrich_web"),
        request.forecast_days,
    )


def draft_wish(request: pb.CreateDraftRequest | pb.UpdateDraftRequest) -> Wish:
    """What is said of a draft."""
    return Wish(
        optional(request, "seed_text"),
        optional(request, "goal"),
        _tier(request.tier),
        optional(request, "enrich_web"),
        optional(request, "forecast_days"),
    )


def said_status(request: pb.RenewJobRequest) -> Status | None:
    """How far a worker says that it is. Raises `InvalidFieldError`."""
    if not request.status:
        return None
    if request.status not in _SAID:
        raise InvalidFieldError(
            "status", "is not a worker's to say", "give provisioning or running, or leave it out"
        )
    return _SAID[request.status]


def produced(request: pb.CompleteJobRequest) -> list[Produced]:
    """The files that a worker says it has produced."""
    return [Produced(each.name, optional(each, "size_bytes")) for each in request.files]


def json_of(message: Any, name: str, most: int = JSON_BYTES) -> bytes | None:
    """A JSON field; None when empty. Raises `InvalidFieldError`."""
    text: bytes = getattr(message, name)
    if not text:
        return None
    if len(text) > most:
        raise InvalidFieldError(name, f"has {len(text):,} bytes", f"give at most {most:,}")
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidFieldError(name, f"is not JSON: {error}", "give one JSON value") from error
    return text


def live_status(request: pb.RenewJobRequest) -> bytes | None:
    """What a worker tells of its work. Raises `InvalidFieldError`."""
    return json_of(request, "live_status", LIVE_BYTES)


def job_message(job: Job) -> job_pb2.Job:
    """A job as its message."""
    return job_pb2.Job(
        job_id=job.id,
        user_id=job.owner,
        seed_text=job.seed_text,
        goal=job.goal,
        tier=_TIERS[job.tier] if job.tier else job_pb2.Job.TIER_UNSPECIFIED,
        enrich_web=job.enrich_web,
        forecast_days=job.forecast_days,
        status=_STATUSES[job.status],
        pipeline_stage=job.pipeline_stage,
        live_status=job.live_status_json or b"",
        markets_config=job.markets_config_json or b"",
        result_report=job.result_report,
        result_structured=job.result_structured_json or b"",
        key_insight=job.key_insight,
        error=job.error,
        sim_data_available=job.sim_data_available,
        sim_data_files=[
            job_pb2.SimDataFile(name=each.name, size_bytes=each.size_bytes, etag=each.etag)
            for each in job.files
        ],
        retry_of=job.retry_of,
        superseded_by=job.superseded_by,
        share_token=job.share_token,
        worker=job.worker,
        lease_expire_time=timestamp(job.lease_until),
        create_time=timestamp(job.created_at),
        update_time=timestamp(job.updated_at),
        complete_time=timestamp(job.completed_at),
    )


def summary(job: Job) -> job_pb2.JobSummary:
    """A job as lists show it."""
    return job_pb2.JobSummary(
        job_id=job.id,
        user_id=job.owner,
        goal=job.goal,
        tier=_TIERS[job.tier] if job.tier else job_pb2.Job.TIER_UNSPECIFIED,
        status=_STATUSES[job.status],
        pipeline_stage=job.pipeline_stage,
        key_insight=job.key_insight,
        error=job.error,
        sim_data_available=job.sim_data_available,
        retry_of=job.retry_of,
        create_time=timestamp(job.created_at),
        update_time=timestamp(job.updated_at),
        complete_time=timestamp(job.completed_at),
    )


def shared(job: Job) -> job_pb2.SharedJob:
    """A job as whoever has its link sees it."""
    return job_pb2.SharedJob(
        job_id=job.id,
        goal=job.goal,
        tier=_TIERS[job.tier] if job.tier else job_pb2.Job.TIER_UNSPECIFIED,
        status=_STATUSES[job.status],
        key_insight=job.key_insight,
        result_report=job.result_report,
        create_time=timestamp(job.created_at),
        complete_time=timestamp(job.completed_at),
    )


def uploads(given: Uploads, now: datetime) -> job_pb2.SimDataUploads | None:
    """The upload URLs of a job; None when there are none."""
    if given.urls is None:
        return None
    until = timestamp(now + timedelta(seconds=UPLOAD_SECONDS))
    return job_pb2.SimDataUploads(files=given.urls, expire_time=until)


def _tier(number: job_pb2.Job.Tier.ValueType) -> Tier | None:
    return _TIER_OF.get(number)
