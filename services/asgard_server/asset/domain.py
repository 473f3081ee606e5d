"""What an asset is, and what may become of it.

Pure: functions over rows that return new ones or raise errors that carry their data. Nothing
here knows gRPC, SQL or how bytes are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from gimle.asgard.core.asset_errors import (
    AssetIncompleteError,
    AssetStateError,
    ComponentNotFoundError,
    NotAwaitingReviewError,
)

from asgard_server.access.domain import Visibility

State = Literal["pending", "ready", "abandoned"]
Kind = Literal["inline", "components", "reference"]

INLINE_BYTES = 2 << 20
JSON_BYTES = 64 << 10
JSON_DEPTH = 64
REASONS = 20
BULK = 1_000
DEFAULT = "default"

# What nobody finalizes is given up after this time, and its bytes go so much later.
PENDING = timedelta(days=7)
KEPT = timedelta(days=1)

UPLOAD_SECONDS = 14 * 3_600
READ_SECONDS = 300

# What may become of an asset. There is no way back from the last two.
_NEXT: Mapping[State, frozenset[State]] = {
    "pending": frozenset({"ready", "abandoned"}),
    "ready": frozenset(),
    "abandoned": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Component:
    """One file of an asset. Size and digest are known once it has arrived."""

    name: str
    content_type: str
    blob_id: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """That it is deprecated or invalidated; `retraction`: which one brought it."""

    reason: str
    set_by: str
    set_at: datetime
    retraction: str = ""


@dataclass(frozen=True, slots=True)
class OutputOf:
    """An experiment, one of its variations, or a run of that."""

    experiment_id: str
    variation: int | None = None
    run: int | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """A row of the table of assets, with its components and the aliases that point at it."""

    id: str
    asset_type: str
    state: State
    kind: Kind
    content_type: str
    created_at: datetime
    updated_at: datetime
    created_by: str
    request_digest: str
    name: str | None = None
    uri: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    config_json: str | None = None
    metadata_json: str | None = None
    pending_reasons: tuple[str, ...] = ()
    ready_at: datetime | None = None
    abandoned_at: datetime | None = None
    abandoned_reason: str | None = None
    organization_id: str | None = None
    team_id: str | None = None
    visibility: Visibility = "private"
    output_of: OutputOf | None = None
    series_id: str | None = None
    version: int | None = None
    deprecated: Flag | None = None
    invalidated: Flag | None = None
    components: tuple[Component, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def scope_id(self) -> str:
        """Whose it is: a team, an organization, or whoever made it."""
        return self.team_id or self.organization_id or self.created_by

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there, as far as that is ours to know."""
        return self.kind == "reference" or self.size_bytes is not None

    @property
    def files(self) -> tuple[Component, ...]:
        """What can be read of it: its components; of what came inline one, the default, whose
        blob has the asset's own id once there is one.
        """
        if self.kind != "inline":
            return self.components
        whole = Component(DEFAULT, self.content_type, self.id, self.size_bytes, self.sha256)
        return (whole,)

    @property
    def blobs_owner(self) -> str:
        """The name by which it claims blobs."""
        return f"asset/{self.id}"


class Arrived(NamedTuple):
    """What has arrived of a component."""

    size_bytes: int
    sha256: str | None


def require_state(asset: Asset, *states: State, mend: str) -> Asset:
    """Answer the asset. Raises `AssetStateError` unless it is in one of these states."""
    if asset.state not in states:
        raise AssetStateError(asset.id, asset.state, mend)
    return asset


def completed(asset: Asset, arrived: Mapping[str, Arrived], now: datetime) -> Asset:
    """The row when all components are there: ready, unless somebody has to approve it.

    One that is ready stays as it is. Raises `AssetStateError`, and `AssetIncompleteError` where a
    component is not among what has arrived.
    """
    if asset.state == "ready":
        return asset
    require_state(asset, "pending", mend="create another one")
    if not asset.is_whole:
        missing = [each.name for each in asset.components if each.name not in arrived]
        if missing:
            raise AssetIncompleteError(asset.id, missing)
        components = tuple(
            replace(each, size_bytes=there.size_bytes, sha256=there.sha256)
            for each in asset.components
            if (there := arrived[each.name])
        )
        size = sum(there.size_bytes for there in arrived.values())
        asset = replace(asset, components=components, size_bytes=size, updated_at=now)
    return asset if asset.pending_reasons else _ready(asset, now)


def approved(asset: Asset, arrived: Mapping[str, Arrived], now: datetime) -> Asset:
    """The row after its review. Raises `NotAwaitingReviewError`, `AssetIncompleteError`."""
    require_review(asset)
    return completed(replace(asset, pending_reasons=()), arrived, now)


def rejected(asset: Asset, reason: str, now: datetime) -> Asset:
    """The row after its review. Raises `NotAwaitingReviewError`."""
    return abandoned(require_review(asset), reason or "rejected", now)


def require_review(asset: Asset) -> Asset:
    """Answer the asset. Raises `NotAwaitingReviewError` unless somebody has to approve it."""
    if asset.state != "pending" or not asset.pending_reasons:
        raise NotAwaitingReviewError(asset.id)
    return asset


def abandoned(asset: Asset, reason: str, now: datetime) -> Asset:
    """The row of an asset that is given up; a repeat changes nothing. Raises `AssetStateError`."""
    if asset.state == "abandoned":
        return asset
    moved = _moved(asset, "abandoned", now)
    return replace(moved, abandoned_at=now, abandoned_reason=reason)


def expired(asset: Asset, now: datetime) -> Asset:
    """The row of an asset whose time is over; what became whole meanwhile stays as it is."""
    if asset.state != "pending" or (asset.pending_reasons and asset.is_whole):
        return asset
    return abandoned(asset, f"not finalized within {PENDING.days} days", now)


def chosen(asset: Asset, names: Sequence[str]) -> list[Component]:
    """Files by their names, all without any. Raises `ComponentNotFoundError`."""
    if not names:
        return list(asset.files)
    known = {each.name: each for each in asset.files}
    for name in names:
        if name not in known:
            raise ComponentNotFoundError(asset.id, name)
    return [known[name] for name in names]


def _ready(asset: Asset, now: datetime) -> Asset:
    return replace(_moved(asset, "ready", now), ready_at=now)


def _moved(asset: Asset, state: State, now: datetime) -> Asset:
    if state not in _NEXT[asset.state]:
        raise AssetStateError(asset.id, asset.state, f"it cannot become {state}")
    return replace(asset, state=state, updated_at=now)
