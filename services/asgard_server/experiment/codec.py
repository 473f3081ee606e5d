"""Between the messages of experiment_service.proto and the domain. Nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import access_pb2, asset_pb2
from gimle.asgard.v1 import experiment_pb2 as pb
from gimle.asgard.v1 import experiment_requests_pb2 as requests
from gimle.asgard.v1 import variation_requests_pb2 as variations
from gimle.asgard.v1.run_service_pb2 import Run as RunMessage

from asgard_server.access.domain import Action, Visibility
from asgard_server.experiment.access_store import Granted
from asgard_server.experiment.domain import Finding, Parent, Retraction, State
from asgard_server.experiment.leases import Run, Status
from asgard_server.experiment.link_store import Flagged, LinkedAsset, Warned, Which
from asgard_server.experiment.retracting import Preview
from asgard_server.experiment.seeing import Detail, Seen, SeenVariation
from asgard_server.experiment.tracing import Lineage, TakenBack
from asgard_server.experiment.wishes import NewVariation
from asgard_server.experiment.working import Place
from asgard_server.rpc.fields import optional, timestamp

_STATES: Mapping[State, pb.Experiment.State.ValueType] = {
    "open": pb.Experiment.STATE_OPEN,
    "committed": pb.Experiment.STATE_COMMITTED,
    "concluded": pb.Experiment.STATE_CONCLUDED,
}
_STATUSES: Mapping[Status, RunMessage.Status.ValueType] = {
    "pending": RunMessage.STATUS_PENDING,
    "running": RunMessage.STATUS_RUNNING,
    "succeeded": RunMessage.STATUS_SUCCEEDED,
    "failed_crash": RunMessage.STATUS_FAILED_CRASH,
    "failed_abandoned": RunMessage.STATUS_FAILED_ABANDONED,
    "failed_lost": RunMessage.STATUS_FAILED_LOST,
}
_ACTIONS: Mapping[Action, asset_pb2.AccessAction.ValueType] = {
    "read": asset_pb2.ACCESS_ACTION_READ,
    "write": asset_pb2.ACCESS_ACTION_WRITE,
    "delete": asset_pb2.ACCESS_ACTION_DELETE,
    "administer": asset_pb2.ACCESS_ACTION_ADMINISTER,
}
_ACTION_OF: Mapping[int, Action] = {number: action for action, number in _ACTIONS.items()}
_VISIBILITIES: Mapping[Visibility, asset_pb2.Visibility.ValueType] = {
    "private": asset_pb2.VISIBILITY_PRIVATE,
    "org_public": asset_pb2.VISIBILITY_ORG_PUBLIC,
    "public": asset_pb2.VISIBILITY_PUBLIC,
}
_ASSET_STATES: Mapping[str, asset_pb2.Asset.State.ValueType] = {
    "pending": asset_pb2.Asset.STATE_PENDING,
    "ready": asset_pb2.Asset.STATE_READY,
    "abandoned": asset_pb2.Asset.STATE_ABANDONED,
}
_TEXTS = ("title", "hypothesis_summary", "rationale", "description", "config_yaml")


def texts(request: requests.CreateExperimentRequest) -> dict[str, str]:
    """The texts of an experiment that is asked for."""
    return {name: getattr(request, name) for name in _TEXTS}


def changed_texts(request: requests.UpdateExperimentRequest) -> dict[str, str]:
    """The texts that are given, by the names of fields."""
    present = {field.name for field, _ in request.ListFields()}
    return {name: getattr(request, name) for name in _TEXTS if name in present}


def parents(
    request: requests.CreateExperimentRequest | requests.ExperimentParents,
) -> list[Parent]:
    """Decided parents, then tentative ones."""
    return [
        *(Parent(each) for each in request.parent_experiment_ids),
        *(Parent(each, tentative=True) for each in request.tentative_parent_ids),
    ]


def status_filter(text: str) -> str:
    """Which experiments are listed. Raises `InvalidFieldError`."""
    if text and text != "retracted" and text not in _STATES:
        raise InvalidFieldError(
            "status", f"is {text[:80]!r}", "give open, committed, concluded or retracted"
        )
    return text


def action(number: int) -> Action:
    """What is granted: reading unless it is said."""
    return _ACTION_OF.get(number, "read")


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


def run_outputs(request: variations.ListRunOutputsRequest) -> Which:
    """Which outputs are meant. Raises `InvalidFieldError`."""
    if request.newest_ready and request.after:
        raise InvalidFieldError("after", "is given with newest_ready", "give one of them")
    return Which(
        "output",
        variation=request.variation,
        run=None if request.across_runs else request.run,
        asset_type=request.asset_type,
        after=request.after,
        newest_ready=request.newest_ready,
    )


# Out ------------------------------------------------------------------------------------


def experiment(seen: Seen) -> pb.Experiment:
    """An experiment as its message."""
    found, back = seen.experiment, seen.experiment.retraction
    return pb.Experiment(
        experiment_id=found.id,
        state=_STATES[found.state],
        title=found.title,
        hypothesis_summary=found.hypothesis_summary,
        rationale=found.rationale,
        description=found.description,
        config_yaml=found.config_yaml,
        create_time=timestamp(found.created_at),
        update_time=timestamp(found.updated_at),
        created_by=found.created_by,
        organization_id=found.organization_id,
        team_id=found.team_id,
        visibility=_VISIBILITIES[found.visibility],
        commit_time=timestamp(found.committed_at),
        conclude_time=timestamp(found.concluded_at),
        retract_time=timestamp(None if back is None else back.at),
        retracted_by="" if back is None else back.by,
        retraction_reason=_reason(back),
        retraction_document_id=None if back is None else back.document_id,
        parents=[
            pb.ExperimentParent(
                experiment_id=parent.id,
                tentative=parent.tentative,
                retracted=one.retraction is not None,
                retraction_reason=_reason(one.retraction),
            )
            for parent, one in seen.parents
        ],
        variation_count=found.variations,
        takeaways_report_id=found.takeaways_id,
        allowed_actions=sorted(_ACTIONS[each] for each in seen.actions),
    )


def detail(found: Detail) -> requests.GetExperimentResponse:
    """All of an experiment as its message."""
    return requests.GetExperimentResponse(
        experiment=experiment(found.seen),
        variations=map(variation, found.variations),
        inputs=map(linked, found.inputs),
        findings=map(finding, found.findings),
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
        retraction_reason=_reason(back),
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


def finding(found: Finding) -> pb.Finding:
    """A finding as its message."""
    return pb.Finding(
        finding_id=found.id,
        experiment_id=found.experiment_id,
        status=found.status,
        summary=found.summary,
        evidence_variation=found.variation,
        source_asset_id=found.source_asset_id,
        created_by=found.created_by,
        create_time=timestamp(found.created_at),
    )


def linked(found: LinkedAsset) -> pb.LinkedAsset:
    """An input or an output as its message."""
    return pb.LinkedAsset(
        asset_id=found.id,
        asset_type=found.asset_type,
        name=found.name,
        state=_ASSET_STATES[found.state],
        content_type=found.content_type,
        size_bytes=found.size_bytes,
        create_time=timestamp(found.created_at),
        ready_time=timestamp(found.ready_at),
        created_by=found.created_by,
        pending_reasons=found.pending_reasons,
        deprecated=_flag(found.deprecated),
        invalidated=_flag(found.invalidated),
        direction=found.direction,
        variation=found.variation,
        run=found.run,
        allow_invalid_assets=found.allow_invalid,
        propagate_acl=found.propagate_acl,
        linked_by=found.linked_by,
        link_time=timestamp(found.linked_at),
    )


def warnings(found: Iterable[Warned]) -> list[pb.LinkWarning]:
    """What is noteworthy of links as messages."""
    return [pb.LinkWarning(asset_id=id, kind=kind, reason=why) for id, kind, why in found]


def preview(found: Preview) -> requests.PreviewRetractionResponse:
    """What retracting would hit as its message."""
    return requests.PreviewRetractionResponse(
        outputs=map(linked, found.outputs),
        invalidated_outputs=found.count,
        downstream=[
            requests.PreviewRetractionResponse.Downstream(
                experiment_id=one.id,
                title=one.title,
                state=_STATES[one.state],
                asset_id=asset_id,
                variation=number,
                distance=distance,
            )
            for one, asset_id, number, distance in found.downstream
        ],
    )


def lineage(found: Lineage) -> requests.GetExperimentLineageResponse:
    """A lineage as its message."""
    return requests.GetExperimentLineageResponse(
        nodes=[
            requests.GetExperimentLineageResponse.Node(
                experiment_id=one.id,
                title=one.title,
                state=_STATES[one.state],
                retracted=one.retraction is not None,
                retraction_reason=_reason(one.retraction),
                distance=distance,
            )
            for one, distance in found.nodes
        ],
        edges=[
            requests.GetExperimentLineageResponse.Edge(
                parent_id=step.parent_id,
                child_id=step.child_id,
                kind="asset" if step.asset_id else "parent",
                asset_id=step.asset_id,
                asset_type=step.asset_type,
                deprecated=_flag(step.deprecated),
                invalidated=_flag(step.invalidated),
                tentative=step.tentative,
                variation=step.variation,
            )
            for step in found.steps
        ],
        is_cut=found.is_cut,
    )


def taken_back(
    found: Iterable[TakenBack], *, is_cut: bool
) -> requests.ListUpstreamRetractionsResponse:
    """What was taken back upstream as its message."""
    return requests.ListUpstreamRetractionsResponse(
        retractions=[
            requests.ListUpstreamRetractionsResponse.Retraction(
                kind=each.kind,
                id=each.id,
                label=each.label,
                reason=each.reason,
                retract_time=timestamp(each.at),
                distance=each.distance,
            )
            for each in found
        ],
        is_cut=is_cut,
    )


def grant(found: Granted) -> access_pb2.AccessGrant:
    """A grant as its message."""
    return access_pb2.AccessGrant(
        principal_id=found.principal,
        action=_ACTIONS[found.action],
        handle=found.handle,
        source=found.source,
        granted_by=found.granted_by,
        grant_time=timestamp(found.granted_at),
    )


def _reason(back: Retraction | None) -> str:
    return "" if back is None else back.reason


def _flag(found: Flagged | None) -> asset_pb2.AssetFlag | None:
    if found is None:
        return None
    return asset_pb2.AssetFlag(
        reason=found.reason,
        set_by=found.by,
        set_time=timestamp(found.at),
        retraction=found.retraction,
    )
