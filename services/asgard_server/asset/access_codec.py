"""Between the messages of access, flags, search, lineage and audit, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import access_pb2 as pb
from gimle.asgard.v1 import asset_pb2
from gimle.asgard.v1 import asset_requests_pb2 as requests_pb
from google.protobuf.timestamp_pb2 import Timestamp

from asgard_server.access.domain import Action
from asgard_server.access.explaining import Explanation, Grant
from asgard_server.asset import codec
from asgard_server.asset.access_store import (
    AuditEntry,
    AuditOf,
    Edge,
    FlagEntry,
    Found,
    Hit,
    Lineage,
    Node,
    Wanted,
)
from asgard_server.asset.finding import words_of
from asgard_server.rpc.fields import timestamp

_ACTION_OF: Mapping[int, Action] = {number: name for name, number in codec.ACTIONS.items()}
_STATE_OF = {number: name for name, number in codec.STATES.items()}


def action_of(number: int) -> Action:
    """The action of a request; reading, where none is said. Raises `InvalidFieldError`."""
    if number == asset_pb2.ACCESS_ACTION_UNSPECIFIED:
        return "read"
    if number not in _ACTION_OF:
        raise InvalidFieldError("action", f"is {number}", f"give {', '.join(codec.ACTIONS)}")
    return _ACTION_OF[number]


def grant_message(grant: Grant) -> pb.AccessGrant:
    """A grant as its message."""
    return pb.AccessGrant(
        principal_id=grant.principal,
        action=codec.ACTIONS[grant.action],
        handle=grant.handle,
        source=grant.source,
        granted_by=grant.granted_by,
        grant_time=timestamp(grant.granted_at),
    )


def explained(found: Explanation) -> pb.ExplainAccessResponse:
    """Why somebody may do something."""
    return pb.ExplainAccessResponse(
        principal_id=found.principal,
        allowed_actions=[n for name, n in codec.ACTIONS.items() if name in found.allowed],
        ways=[
            pb.ExplainAccessResponse.Way(
                action=codec.ACTIONS[way.action],
                through=way.through,
                source=way.source,
                sentence=way.sentence,
            )
            for way in found.ways
        ],
    )


def flag_entry(entry: FlagEntry) -> requests_pb.ListAssetFlagsResponse.Entry:
    """That a flag was set or taken back."""
    return requests_pb.ListAssetFlagsResponse.Entry(
        flag=entry.flag,
        is_set=entry.is_set,
        reason=entry.reason,
        set_by=entry.set_by,
        set_time=timestamp(entry.set_at),
    )


def wanted(request: requests_pb.SearchAssetsRequest) -> Wanted:
    """What is searched for. Raises `InvalidFieldError`, and `InvalidNameError` of no id."""
    filters = request.filters
    words = words_of(request.query)
    return Wanted(
        words=words,
        is_hopeless=not words and bool(request.query.strip()),
        asset_types=tuple(filters.asset_types),
        states=tuple(_STATE_OF[each] for each in filters.states if each in _STATE_OF),
        owner=filters.owner,
        experiment_id=codec.asked_id(filters.experiment_id, "filters.experiment_id"),
        linked_to=request.experiment_context,
        created_after=_moment(filters, "after_time"),
        created_before=_moment(filters, "before_time"),
    )


def found(page: Found, more: str) -> requests_pb.SearchAssetsResponse:
    """A page of what was found."""
    facet = requests_pb.SearchAssetsResponse.Facet
    return requests_pb.SearchAssetsResponse(
        results=map(_hit, page.hits),
        next_page_token=more,
        asset_types=[facet(value=name, count=count) for name, count in page.types],
        states=[facet(value=name, count=count) for name, count in page.states],
        total=page.total,
        total_is_more=page.is_more,
    )


def lineage(found: Lineage) -> requests_pb.GetAssetLineageResponse:
    """Where something comes from and leads to."""
    return requests_pb.GetAssetLineageResponse(
        nodes=map(_node, found.nodes), edges=map(_edge, found.edges), is_cut=found.is_cut
    )


def audit_of(request: pb.ListAuditEntriesRequest) -> AuditOf:
    """Whose entries are asked for. Raises `InvalidNameError` of an asset or experiment."""
    return AuditOf(
        codec.asked_id(request.asset_id, "asset_id"),
        codec.asked_id(request.experiment_id, "experiment_id"),
        request.organization_id,
        request.principal_id,
    )


def audit_entry(entry: AuditEntry) -> pb.AuditEntry:
    """That somebody did something."""
    return pb.AuditEntry(
        number=entry.number,
        record_time=timestamp(entry.at),
        principal_id=entry.principal,
        principal_kind=entry.principal_kind,
        action=entry.action,
        object_kind=entry.object_kind,
        object_id=entry.object_id,
        organization_id=entry.organization_id,
        details=entry.details_json.encode(),
        request_id=entry.request_id,
    )


def _hit(hit: Hit) -> requests_pb.SearchAssetsResponse.Result:
    return requests_pb.SearchAssetsResponse.Result(
        document_id=hit.asset.id, asset=codec.asset_message(hit.asset), snippet=hit.snippet
    )


def _node(node: Node) -> requests_pb.GetAssetLineageResponse.Node:
    return requests_pb.GetAssetLineageResponse.Node(
        kind=node.kind,
        id=node.id,
        label=node.label,
        asset_type=node.asset_type,
        deprecated=None if node.deprecated is None else codec.flag_message(node.deprecated),
        invalidated=None if node.invalidated is None else codec.flag_message(node.invalidated),
        retracted=node.retracted,
        distance=node.distance,
    )


def _edge(edge: Edge) -> requests_pb.GetAssetLineageResponse.Edge:
    return requests_pb.GetAssetLineageResponse.Edge(
        asset_id=edge.asset_id,
        experiment_id=edge.experiment_id,
        variation=edge.variation,
        direction=edge.direction,
        allow_invalid=edge.allow_invalid,
    )


def _moment(message: Any, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    try:
        return stamp.ToDatetime(UTC)
    except ValueError:
        raise InvalidFieldError(
            f"filters.created_{name.removesuffix('_time')}", "is no time", "give one of RFC 3339"
        ) from None
