"""Between the messages of asset_service.proto and the rows. Nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import orjson
from gimle.asgard.core.ids import check_id
from gimle.asgard.v1 import asset_pb2
from gimle.asgard.v1 import asset_requests_pb2 as pb

from asgard_server.access.domain import Action, Visibility
from asgard_server.asset.domain import Asset, Component, Flag, OutputOf, State
from asgard_server.asset.finishing import Outcome
from asgard_server.asset.keeping import Made, Shown
from asgard_server.asset.store import AliasMove, Filter, Removed, Upload
from asgard_server.asset.wishes import NewComponent, Wish, is_json
from asgard_server.rpc.errors import failure
from asgard_server.rpc.fields import optional, timestamp

STATES: Mapping[State, asset_pb2.Asset.State.ValueType] = {
    "pending": asset_pb2.Asset.STATE_PENDING,
    "ready": asset_pb2.Asset.STATE_READY,
    "abandoned": asset_pb2.Asset.STATE_ABANDONED,
}
_STATE_OF = {number: state for state, number in STATES.items()}
_VISIBILITIES: Mapping[Visibility, asset_pb2.Visibility.ValueType] = {
    "private": asset_pb2.VISIBILITY_PRIVATE,
    "org_public": asset_pb2.VISIBILITY_ORG_PUBLIC,
    "public": asset_pb2.VISIBILITY_PUBLIC,
}
ACTIONS: Mapping[Action, asset_pb2.AccessAction.ValueType] = {
    "read": asset_pb2.ACCESS_ACTION_READ,
    "write": asset_pb2.ACCESS_ACTION_WRITE,
    "delete": asset_pb2.ACCESS_ACTION_DELETE,
    "administer": asset_pb2.ACCESS_ACTION_ADMINISTER,
}
_LARGE_BYTES = 64 << 10
_MANY = 500


def is_large(request: pb.CreateAssetRequest) -> bool:
    """Whether reading it would stop the loop."""
    return (
        len(request.content) > _LARGE_BYTES
        or len(request.component_files) + len(request.components) > _MANY
    )


def wish(request: pb.CreateAssetRequest) -> Wish:
    """What is asked for."""
    return Wish(
        id=request.asset_id,
        asset_type=request.asset_type,
        name=request.name,
        content=request.content,
        content_type=request.content_type,
        components=tuple(request.components),
        component_files=tuple(map(_new_component, request.component_files)),
        uri=request.uri,
        size_bytes=optional(request, "size_bytes"),
        asset_config=request.asset_config,
        metadata=request.metadata,
        output_of=output_of(request.output_of) if request.HasField("output_of") else None,
        pending_reasons=tuple(request.pending_reasons),
        organization_id=request.organization_id,
        team_id=request.team_id,
        visibility=request.visibility,
        lease_token=request.lease_token,
        digest=_digest(request),
    )


def output_of(message: asset_pb2.OutputOf) -> OutputOf:
    """What it is an output of."""
    return OutputOf(message.experiment_id, optional(message, "variation"), optional(message, "run"))


def wanted(request: pb.ListAssetsRequest) -> Filter:
    """Which assets are listed. Raises `InvalidNameError` where experiment_id is no id."""
    output = None
    experiment_id = asked_id(request.experiment_id, "experiment_id")
    if experiment_id:
        output = OutputOf(experiment_id, optional(request, "variation"), optional(request, "run"))
    return Filter(
        owner=request.owner,
        asset_type=request.asset_type,
        state=_STATE_OF.get(request.state),
        output_of=output,
        name=request.name,
    )


def asked_id(given: str, field: str) -> str:
    """Answer the id that a list is narrowed by, empty for none. Raises `InvalidNameError`."""
    return check_id(given, field) if given else ""


def asset_message(asset: Asset) -> asset_pb2.Asset:
    """An asset as its message."""
    return asset_pb2.Asset(
        asset_id=asset.id,
        state=STATES[asset.state],
        asset_type=asset.asset_type,
        name=asset.name,
        uri=asset.uri or f"asset:{asset.id}",
        content_type=asset.content_type,
        asset_config=(asset.config_json or "{}").encode(),
        metadata=(asset.metadata_json or "{}").encode(),
        components=map(_component, asset.files),
        size_bytes=asset.size_bytes,
        create_time=timestamp(asset.created_at),
        update_time=timestamp(asset.updated_at),
        ready_time=timestamp(asset.ready_at),
        created_by=asset.created_by,
        organization_id=asset.organization_id,
        team_id=asset.team_id,
        visibility=_VISIBILITIES[asset.visibility],
        pending_reasons=asset.pending_reasons,
        output_of=None if asset.output_of is None else _output(asset.output_of),
        deprecated=None if asset.deprecated is None else flag_message(asset.deprecated),
        invalidated=None if asset.invalidated is None else flag_message(asset.invalidated),
        version=asset.version,
        aliases=asset.aliases,
        abandoned_reason=asset.abandoned_reason,
    )


def shown(found: Shown) -> asset_pb2.Asset:
    """An asset with what was asked for beside it."""
    message = asset_message(found.asset)
    message.allowed_actions.extend(
        number for name, number in ACTIONS.items() if name in found.allowed
    )
    if found.content is not None:
        text = is_json(found.asset.content_type)
        message.content = found.content if text else orjson.dumps(found.content.decode())
    if found.urls is not None:
        message.download_urls.update(found.urls)
    if found.index_present is not None:
        message.index_present = found.index_present
    return message


def made(done: Made) -> pb.CreateAssetResponse:
    """A new asset, and how it is to be uploaded."""
    return pb.CreateAssetResponse(
        asset=asset_message(done.asset),
        asset_id=done.asset.id,
        upload_urls={each.name: each.url for each in done.uploads if each.url},
        uploads=map(upload, done.uploads),
    )


def upload(each: Upload) -> pb.CreateAssetResponse.Upload:
    """How one component is to be uploaded."""
    return pb.CreateAssetResponse.Upload(
        name=each.name,
        url=each.url,
        method=each.method,
        headers=each.headers or {},
        expire_time=timestamp(each.expires_at),
        parts_blob_id=each.parts_blob_id,
    )


def written(uploads: Iterable[Upload]) -> pb.PresignAssetResponse:
    """URLs that write components."""
    found = list(uploads)
    ends = [each.expires_at for each in found if each.expires_at is not None]
    return pb.PresignAssetResponse(
        urls={each.name: each.url for each in found if each.url},
        expire_time=timestamp(min(ends)) if ends else None,
        uploads=map(upload, found),
    )


def removed(asset_id: str, gone: Removed) -> pb.DeleteAssetResponse:
    """What a deletion has removed."""
    return pb.DeleteAssetResponse(
        asset_id=asset_id,
        grants_removed=gone.grants,
        components_removed=gone.components,
        inline_removed=gone.inline,
        size_bytes=gone.size_bytes,
    )


def outcome(done: Outcome) -> pb.BulkApproveAssetsResponse.Outcome:
    """What has become of one of many."""
    if done.problem is None:
        return pb.BulkApproveAssetsResponse.Outcome(asset_id=done.asset_id, approved=True)
    return pb.BulkApproveAssetsResponse.Outcome(
        asset_id=done.asset_id,
        reason=failure(done.problem, "").reason,
        message=str(done.problem),
    )


def alias_move(move: AliasMove) -> pb.ListAssetVersionsResponse.AliasMove:
    """That an alias was moved."""
    return pb.ListAssetVersionsResponse.AliasMove(
        alias=move.alias,
        asset_id=move.asset_id or "",
        set_by=move.set_by,
        set_time=timestamp(move.set_at),
    )


def flag_message(flag: Flag) -> asset_pb2.AssetFlag:
    """What is said against an asset."""
    return asset_pb2.AssetFlag(
        reason=flag.reason,
        set_by=flag.set_by,
        set_time=timestamp(flag.set_at),
        retraction=flag.retraction,
    )


def _new_component(new: pb.NewComponent) -> NewComponent:
    return NewComponent(
        new.name, optional(new, "size_bytes"), optional(new, "sha256"), new.content_type
    )


def _component(each: Component) -> asset_pb2.AssetComponent:
    return asset_pb2.AssetComponent(
        name=each.name,
        size_bytes=each.size_bytes,
        sha256=each.sha256,
        content_type=each.content_type,
    )


def _output(output: OutputOf) -> asset_pb2.OutputOf:
    return asset_pb2.OutputOf(
        experiment_id=output.experiment_id, variation=output.variation, run=output.run
    )


def _digest(request: pb.CreateAssetRequest) -> str:
    """Of all that was asked for: not of the lease, which is another one after a restart."""
    asked = pb.CreateAssetRequest()
    asked.CopyFrom(request)
    asked.ClearField("lease_token")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
