"""Between the messages of what is linked to experiments and the domain. Nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import asset_pb2
from gimle.asgard.v1 import experiment_pb2 as pb
from gimle.asgard.v1 import variation_requests_pb2 as variations

from asgard_server.experiment.link_store import Flagged, LinkedAsset, Warned, Which
from asgard_server.rpc.fields import timestamp

_ASSET_STATES: Mapping[str, asset_pb2.Asset.State.ValueType] = {
    "pending": asset_pb2.Asset.STATE_PENDING,
    "ready": asset_pb2.Asset.STATE_READY,
    "abandoned": asset_pb2.Asset.STATE_ABANDONED,
}


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
        deprecated=flag(found.deprecated),
        invalidated=flag(found.invalidated),
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


def flag(found: Flagged | None) -> asset_pb2.AssetFlag | None:
    """That an asset is deprecated or invalidated as its message."""
    if found is None:
        return None
    return asset_pb2.AssetFlag(
        reason=found.reason,
        set_by=found.by,
        set_time=timestamp(found.at),
        retraction=found.retraction,
    )
