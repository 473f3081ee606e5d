"""Between the messages of lineages, and of what was taken back in them, and the domain."""

from __future__ import annotations

from collections.abc import Iterable

from gimle.asgard.v1 import experiment_requests_pb2 as requests

from asgard_server.experiment.codec import STATES, reason
from asgard_server.experiment.link_codec import flag, linked
from asgard_server.experiment.retracting import Preview
from asgard_server.experiment.tracing import Lineage, TakenBack
from asgard_server.rpc.fields import timestamp


def preview(found: Preview) -> requests.PreviewRetractionResponse:
    """What retracting would hit as its message."""
    return requests.PreviewRetractionResponse(
        outputs=map(linked, found.outputs),
        invalidated_outputs=found.count,
        downstream=[
            requests.PreviewRetractionResponse.Downstream(
                experiment_id=one.id,
                title=one.title,
                state=STATES[one.state],
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
                state=STATES[one.state],
                retracted=one.retraction is not None,
                retraction_reason=reason(one.retraction),
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
                deprecated=flag(step.deprecated),
                invalidated=flag(step.invalidated),
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
