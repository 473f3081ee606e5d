"""Between the messages of experiment_service.proto that are about experiments, and the domain.

Nothing else. Those of variations, links and lineages have rooms beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import access_pb2, asset_pb2
from gimle.asgard.v1 import experiment_pb2 as pb
from gimle.asgard.v1 import experiment_requests_pb2 as requests

from asgard_server.access.domain import Action, Visibility
from asgard_server.experiment.access_store import Granted
from asgard_server.experiment.domain import Finding, Parent, Retraction, State
from asgard_server.experiment.link_codec import linked
from asgard_server.experiment.seeing import Detail, Seen
from asgard_server.experiment.variation_codec import variation
from asgard_server.rpc.fields import timestamp

STATES: Mapping[State, pb.Experiment.State.ValueType] = {
    "open": pb.Experiment.STATE_OPEN,
    "committed": pb.Experiment.STATE_COMMITTED,
    "concluded": pb.Experiment.STATE_CONCLUDED,
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
    if text and text != "retracted" and text not in STATES:
        raise InvalidFieldError(
            "status", f"is {text[:80]!r}", "give open, committed, concluded or retracted"
        )
    return text


def action(number: int) -> Action:
    """What is granted: reading unless it is said."""
    return _ACTION_OF.get(number, "read")


# Out ------------------------------------------------------------------------------------


def experiment(seen: Seen) -> pb.Experiment:
    """An experiment as its message."""
    found, back = seen.experiment, seen.experiment.retraction
    return pb.Experiment(
        experiment_id=found.id,
        state=STATES[found.state],
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
        retraction_reason=reason(back),
        retraction_document_id=None if back is None else back.document_id,
        parents=[
            pb.ExperimentParent(
                experiment_id=parent.id,
                tentative=parent.tentative,
                retracted=one.retraction is not None,
                retraction_reason=reason(one.retraction),
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


def reason(back: Retraction | None) -> str:
    """Why something was taken back; empty where it was not."""
    return "" if back is None else back.reason
