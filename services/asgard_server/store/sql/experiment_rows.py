"""Between rows of experiments, variations, runs and links, and what the domain has of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asgard_server.experiment.domain import Experiment, Finding, Retraction, Variation
from asgard_server.experiment.leases import Run, Wandb
from asgard_server.experiment.link_store import Flagged, LinkedAsset
from asgard_server.store.blob_rows import micros, moment

EXPERIMENT = (
    "id, state, title, hypothesis_summary, rationale, description, config_yaml, created_at,"
    " updated_at, created_by, organization_id, team_id, visibility, committed_at, concluded_at,"
    " takeaways_id, retracted_at, retracted_by, retraction_reason, retraction_document_id,"
    " variations, request_digest"
)
VARIATION = (
    "experiment_id, number, state, name, description, hypothesis, git_ref, config_yaml, created_at,"
    " created_by, committed_at, retracted_at, retracted_by, retraction_reason, runs, request_digest"
)
RUN = (
    "experiment_id, variation, number, run_id, status, fence, worker, lease_token, lease_seconds,"
    " lease_until, heartbeat_at, created_at, started_at, finished_at, reason, wandb_json"
)
FINDING = "id, experiment_id, status, summary, variation, source_asset_id, created_by, created_at"
LINKED = (
    "a.id, a.asset_type, a.name, a.state, a.content_type, a.size_bytes, a.created_at, a.ready_at,"
    " a.created_by, a.pending_reasons, a.deprecated_at, a.deprecated_by, a.deprecated_reason,"
    " a.invalidated_at, a.invalidated_by, a.invalidated_reason, a.invalidated_with,"
    " l.direction, l.variation, l.run, l.allow_invalid, l.propagate_acl, l.linked_by, l.linked_at"
)


def experiment_of(row: Sequence[Any]) -> Experiment:
    """The experiment of columns in their order."""
    return Experiment(
        id=row[0],
        state=row[1],
        title=row[2],
        hypothesis_summary=row[3],
        rationale=row[4],
        description=row[5],
        config_yaml=row[6],
        created_at=moment(row[7]),
        updated_at=moment(row[8]),
        created_by=row[9],
        organization_id=row[10],
        team_id=row[11],
        visibility=row[12],
        committed_at=_moment(row[13]),
        concluded_at=_moment(row[14]),
        takeaways_id=row[15],
        retraction=_retraction(row[16], row[17], row[18], row[19]),
        variations=row[20],
        request_digest=row[21],
    )


def experiment_values(found: Experiment) -> tuple[object, ...]:
    """The columns of an experiment in their order."""
    back = found.retraction
    return (
        *(found.id, found.state, found.title, found.hypothesis_summary, found.rationale),
        *(found.description, found.config_yaml, micros(found.created_at)),
        *(micros(found.updated_at), found.created_by, found.organization_id, found.team_id),
        *(found.visibility, _micros(found.committed_at), _micros(found.concluded_at)),
        *(found.takeaways_id, *_retracted(back), None if back is None else back.document_id),
        *(found.variations, found.request_digest),
    )


def variation_of(row: Sequence[Any]) -> Variation:
    """The variation of columns in their order."""
    return Variation(
        experiment_id=row[0],
        number=row[1],
        state=row[2],
        name=row[3],
        description=row[4],
        hypothesis=row[5],
        git_ref=row[6],
        config_yaml=row[7],
        created_at=moment(row[8]),
        created_by=row[9],
        committed_at=_moment(row[10]),
        retraction=_retraction(row[11], row[12], row[13], None),
        runs=row[14],
        request_digest=row[15],
    )


def variation_values(found: Variation) -> tuple[object, ...]:
    """The columns of a variation in their order."""
    return (
        *(found.experiment_id, found.number, found.state, found.name, found.description),
        *(found.hypothesis, found.git_ref, found.config_yaml, micros(found.created_at)),
        *(found.created_by, _micros(found.committed_at), *_retracted(found.retraction)),
        *(found.runs, found.request_digest),
    )


def run_of(row: Sequence[Any]) -> Run:
    """The run of columns in their order."""
    return Run(
        experiment_id=row[0],
        variation=row[1],
        number=row[2],
        run_id=row[3],
        status=row[4],
        fence=row[5],
        worker=row[6] or "",
        lease_token=row[7],
        lease_seconds=row[8],
        lease_until=_moment(row[9]),
        heartbeat_at=_moment(row[10]),
        created_at=moment(row[11]),
        started_at=_moment(row[12]),
        finished_at=_moment(row[13]),
        reason=row[14] or "",
        wandb=None if row[15] is None else Wandb(**json.loads(row[15])),
    )


def run_values(found: Run) -> tuple[object, ...]:
    """The columns of a run in their order."""
    return (
        *(found.experiment_id, found.variation, found.number, found.run_id, found.status),
        *(found.fence, found.worker, found.lease_token, found.lease_seconds),
        *(_micros(found.lease_until), _micros(found.heartbeat_at), micros(found.created_at)),
        *(_micros(found.started_at), _micros(found.finished_at), found.reason),
        None if found.wandb is None else json.dumps(wandb_fields(found.wandb)),
    )


def wandb_fields(found: Wandb) -> dict[str, str]:
    """Where a run is logged to, as JSON has it."""
    return {
        "run_id": found.run_id,
        "entity": found.entity,
        "project": found.project,
        "dashboard_url": found.dashboard_url,
    }


def finding_of(row: Sequence[Any]) -> Finding:
    """The finding of columns in their order."""
    return Finding(
        id=row[0],
        experiment_id=row[1],
        status=row[2],
        summary=row[3],
        variation=row[4],
        source_asset_id=row[5],
        created_by=row[6],
        created_at=moment(row[7]),
    )


def linked_of(row: Sequence[Any]) -> LinkedAsset:
    """A linked asset of columns in their order."""
    return LinkedAsset(
        id=row[0],
        asset_type=row[1],
        name=row[2],
        state=row[3],
        content_type=row[4],
        size_bytes=row[5],
        created_at=moment(row[6]),
        ready_at=_moment(row[7]),
        created_by=row[8],
        pending_reasons=tuple(json.loads(row[9])),
        deprecated=flag_of(row[10], row[11], row[12]),
        invalidated=flag_of(row[13], row[14], row[15], row[16]),
        direction=row[17],
        variation=None if row[18] < 0 else row[18],
        run=row[19],
        allow_invalid=bool(row[20]),
        propagate_acl=bool(row[21]),
        linked_by=row[22],
        linked_at=moment(row[23]),
    )


def flag_of(
    at: int | None, by: str | None, reason: str | None, retraction: str | None = None
) -> Flagged | None:
    """A flag of its columns; None for one that is not set."""
    if at is None:
        return None
    return Flagged(reason or "", by or "", moment(at), retraction or "")


def _retraction(
    at: int | None, by: str | None, reason: str | None, document: str | None
) -> Retraction | None:
    return None if at is None else Retraction(reason or "", by or "", moment(at), document)


def _retracted(back: Retraction | None) -> tuple[object, object, object]:
    return (None, None, None) if back is None else (micros(back.at), back.by, back.reason)


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment(at)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)
