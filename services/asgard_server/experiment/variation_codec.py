"""Between the messages of variations and their runs and the domain. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import experiment_pb2 as pb
from gimle.asgard.v1 import variation_requests_pb2 as variations
from gimle.asgard.v1.run_service_pb2 import Run as RunMessage

from asgard_server.experiment.leases import Run, Status
from asgard_server.experiment.link_codec import linked
from asgard_server.experiment.seeing import SeenVariation
from asgard_server.experiment.wishes import NewVariation
from asgard_server.experiment.working import Place
from asgard_server.rpc.fields import optional, timestamp

_STATUSES: Mapping[Status, RunMessage.Status.ValueType] = {
    "pending": RunMessage.STATUS_PENDING,
    "running": RunMessage.STATUS_RUNNING,
    "succeeded": RunMessage.STATUS_SUCCEEDED,
    "failed_crash": RunMessage.STATUS_FAILED_CRASH,
    "failed_abandoned": RunMessage.STATUS_FAILED_ABANDONED,
    "failed_lost": RunMessage.STATUS_FAILED_LOST,
}


def new_variation(request: variations.CreateVariationRequest, inputs: list[str]) -> NewVariation:
    """A variation that is asked for."""
    return NewVariation(
        name=request.name,
        description=request.description,
        hypothesis=request.hypothesis,
        git_ref=request.git_ref,
        config_yaml=request.config_yaml,
        inputs=tuple(inputs),
        allow_invalid=request.allow_invalid_assets,
        number=optional(request, "variation"),
    )


def place(request: Any) -> Place:
    """Which run is meant."""
    return Place(request.experiment_id, request.variation, request.run)


def lease_seconds(request: variations.StartVariationRunRequest) -> float | None:
    """How long a lease is wanted; None when nothing is said."""
    found = optional(request, "lease_duration")
    return None if found is None else found.seconds + found.nanos / 1e9


def failed_status(text: str) -> Status:
    """How a run has failed. Raises `InvalidFieldError`."""
    if text in ("", "failed_crash"):
        return "failed_crash"
    if text == "failed_abandoned":
        return "failed_abandoned"
    raise InvalidFieldError(
        "status", f"is {text[:80]!r}", "give failed_crash or failed_abandoned, or leave it out"
    )


def variation(seen: SeenVariation) -> pb.Variation:
    """A variation as its message."""
    found, back = seen.variation, seen.variation.retraction
    return pb.Variation(
        experiment_id=found.experiment_id,
        variation=found.number,
        name=found.name,
        state=(pb.Variation.STATE_OPEN if found.state == "open" else pb.Variation.STATE_COMMITTED),
        description=found.description,
        hypothesis=found.hypothesis,
        git_ref=found.git_ref,
        config_yaml=found.config_yaml,
        create_time=timestamp(found.created_at),
        created_by=found.created_by,
        commit_time=timestamp(found.committed_at),
        retract_time=timestamp(None if back is None else back.at),
        retraction_reason="" if back is None else back.reason,
        run_count=found.runs,
        latest_status=None if seen.latest is None else _STATUSES[seen.latest.status],
        inputs=map(linked, seen.inputs),
    )


def run(found: Run) -> pb.VariationRun:
    """A run as its message. Its lease's token is told to who has started it alone."""
    logged = found.wandb
    return pb.VariationRun(
        experiment_id=found.experiment_id,
        variation=found.variation,
        run=found.number,
        run_id=found.run_id,
        status=_STATUSES[found.status],
        worker=found.worker,
        create_time=timestamp(found.created_at),
        start_time=timestamp(found.started_at),
        finish_time=timestamp(found.finished_at),
        heartbeat_time=timestamp(found.heartbeat_at),
        lease_expire_time=timestamp(found.lease_until),
        reason=found.reason,
        wandb=None
        if logged is None
        else pb.WandbRun(
            run_id=logged.run_id,
            entity=logged.entity,
            project=logged.project,
            dashboard_url=logged.dashboard_url,
        ),
        fence=found.fence,
    )
