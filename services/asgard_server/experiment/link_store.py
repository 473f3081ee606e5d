"""The port of ExperimentService to what is linked: inputs and outputs of experiments, and the steps
that they make between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from asgard_server.auth.principal import Principal
from asgard_server.experiment.domain import Report
from asgard_server.experiment.leases import Run

Direction = Literal["input", "output"]


class Flagged(NamedTuple):
    """That an asset is deprecated or invalidated; `retraction`: which one brought it."""

    reason: str
    by: str
    at: datetime
    retraction: str = ""


@dataclass(frozen=True, slots=True)
class LinkedAsset:
    """An asset as an input or an output, as a caller who may read it sees it."""

    id: str
    asset_type: str
    state: str
    content_type: str
    created_at: datetime
    created_by: str
    direction: Direction
    linked_by: str
    linked_at: datetime
    name: str | None = None
    size_bytes: int | None = None
    ready_at: datetime | None = None
    pending_reasons: tuple[str, ...] = ()
    deprecated: Flagged | None = None
    invalidated: Flagged | None = None
    variation: int | None = None
    run: int | None = None
    allow_invalid: bool = False
    propagate_acl: bool = False


@dataclass(frozen=True, slots=True)
class Which:
    """Which links are asked for. `variation` None: any; `itself`: only the experiment's own.

    `after` is the id of an asset behind which they begin. `newest_ready`: ready ones, the newest
    first. `only`: of these assets, where some are named.
    """

    direction: Direction
    variation: int | None = None
    itself: bool = False
    run: int | None = None
    asset_type: str = ""
    after: str = ""
    newest_ready: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """Inputs that are to be linked, to a variation or to the experiment itself."""

    experiment_id: str
    asset_ids: Sequence[str]
    variation: int | None = None
    allow_invalid: bool = False
    propagate_acl: bool = False


class Warned(NamedTuple):
    """Something noteworthy of what was linked: "deprecated", or "invalidated" where that may be."""

    asset_id: str
    kind: str
    reason: str


class Step(NamedTuple):
    """One step from an experiment to another: `asset_id` empty where it was said that one is
    built upon the other.
    """

    parent_id: str
    child_id: str
    asset_id: str = ""
    asset_type: str = ""
    label: str = ""
    tentative: bool = False
    variation: int | None = None
    deprecated: Flagged | None = None
    invalidated: Flagged | None = None


class Links(Protocol):
    """Inputs and outputs."""

    async def types(self, ids: Sequence[str], by: Principal) -> Mapping[str, str]:
        """The types of assets. Raises `NotFoundError` for one that the caller may not read."""

    async def link(self, wish: Wish, by: Principal, now: datetime) -> list[Warned]:
        """Link inputs; what is linked stays.

        Raises `NotFoundError`, `AssetStateError`, `AssetInvalidatedError`.
        """

    async def unlink(
        self, id: str, variation: int | None, asset_id: str, by: Principal, now: datetime
    ) -> bool:
        """Remove an input; answer whether it was there."""

    async def assets(self, id: str, which: Which, by: Principal, limit: int) -> list[LinkedAsset]:
        """What is linked and the caller may read, in the order of the assets' ids."""

    async def count(self, id: str, variation: int | None, by: Principal) -> int:
        """How many outputs that the caller may read would be invalidated by retracting it."""

    async def reports(self, id: str, direction: Direction, asset_type: str) -> list[Report]:
        """What is linked of a type, the oldest first; whoever may read it."""

    async def outputs(self, id: str, variation: int) -> frozenset[str]:
        """The ids of what a variation has put out, whoever may read it."""

    async def retract(
        self, id: str, variation: int | None, reason: str, by: Principal, now: datetime
    ) -> int:
        """Invalidate all outputs; answer how many that were."""

    async def upstream(self, ids: Sequence[str], by: Principal, limit: int) -> list[Step]:
        """Steps that lead to these experiments; by assets that the caller may read."""

    async def downstream(self, ids: Sequence[str], by: Principal, limit: int) -> list[Step]:
        """Steps that lead from these experiments; by assets that the caller may read."""

    async def add_wandb(self, run: Run, by: Principal, now: datetime) -> str:
        """Write where a run is logged to as an output of it; answer the asset's id."""

    async def require(self, asset_id: str, by: Principal) -> None:
        """Raise `NotFoundError` for an asset that the caller may not read."""
