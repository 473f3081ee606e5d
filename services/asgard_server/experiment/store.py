"""The port of ExperimentService: experiments and what belongs to them, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from asgard_server.access.domain import Action, Owner, Visibility
from asgard_server.auth.principal import Principal
from asgard_server.experiment.domain import Experiment, Finding, Parent, Report, Variation
from asgard_server.experiment.leases import Run

T = TypeVar("T")

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
class Filter:
    """Which experiments of a list are wanted. `owner`: a user, team or organisation, by id or
    handle; of nobody there are none.
    """

    state: str = ""
    retracted: bool = False
    owner: str = ""


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


class Experiments(Protocol):
    """The experiments, their variations and findings."""

    async def find(self, id: str, *, lock: bool = False) -> Experiment:
        """Look up; `lock` keeps others from changing it meanwhile. Raises `NotFoundError`."""

    async def repeated(self, id: str) -> Experiment | None:
        """Look up for a create; None if the id is free. Raises `DeletedError`."""

    async def add(self, experiment: Experiment) -> bool:
        """Add a row, unless the id is taken; answer whether it was added."""

    async def put(self, experiment: Experiment) -> None:
        """Replace a row."""

    async def remove(self, id: str, now: datetime) -> int:
        """Remove a row and all that belongs to it; answer how many links that were."""

    async def page(
        self, by: Principal, wanted: Filter, behind: tuple[datetime, str] | None, limit: int
    ) -> list[Experiment]:
        """What the caller may read, newest first."""

    async def parents(self, id: str) -> list[Parent]:
        """What it is built upon."""

    async def parents_of(self, ids: Sequence[str]) -> Mapping[str, list[Parent]]:
        """What each of these is built upon."""

    async def put_parents(self, id: str, parents: Sequence[Parent]) -> None:
        """Replace what it is built upon."""

    async def children(self, id: str) -> int:
        """How many are built upon it."""

    async def readable(self, ids: Sequence[str], by: Principal) -> Mapping[str, Experiment]:
        """Those of these that the caller may read."""

    async def variation(self, id: str, number: int) -> Variation:
        """Look up a variation. Raises `NotFoundError`."""

    async def variations(self, id: str) -> list[Variation]:
        """Its variations by their numbers."""

    async def add_variation(self, variation: Variation) -> None:
        """Add a variation, which is the next one."""

    async def put_variation(self, variation: Variation) -> None:
        """Replace a variation."""

    async def add_finding(self, finding: Finding) -> None:
        """Add a finding."""

    async def findings(self, id: str) -> list[Finding]:
        """Its findings, the oldest first."""


class Runs(Protocol):
    """The runs of variations."""

    async def find(self, id: str, variation: int, number: int, *, lock: bool = False) -> Run:
        """Look up. Raises `NotFoundError`."""

    async def of_variation(self, id: str, variation: int, limit: int) -> list[Run]:
        """The newest, by their numbers."""

    async def latest(self, id: str) -> Mapping[int, Run]:
        """The newest run of each variation."""

    async def add(self, run: Run) -> None:
        """Add a run, which is the next one of its variation."""

    async def put(self, run: Run) -> None:
        """Replace a run."""

    async def overdue(self, now: datetime, limit: int) -> list[tuple[str, int, int]]:
        """Runs whose lease has ended: experiment, variation, number; the longest overdue first."""

    async def next_lease(self) -> datetime | None:
        """When the next lease ends; None while nothing runs."""

    async def abandon_assets(self, run: Run, reason: str, by: Principal, now: datetime) -> int:
        """Give up what the run has put out and nobody has finalized; answer how many that were."""


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


class Granted(NamedTuple):
    """A grant, with the handle of whom it is for."""

    principal: str
    action: Action
    source: str
    granted_by: str
    granted_at: datetime
    handle: str = ""


class Access(Protocol):
    """Who may do what with an experiment, and who is who."""

    async def require(self, id: str, by: Principal, action: Action) -> None:
        """Raise `NotFoundError` or `ForbiddenError` unless the caller may do this."""

    async def actions(self, id: str, by: Principal) -> frozenset[Action]:
        """What the caller may do."""

    async def own(self, id: str, by: Principal, now: datetime) -> None:
        """Let the caller, who makes it, administer it."""

    async def broadcast(
        self, id: str, visibility: Visibility, owner: Owner, by: Principal, now: datetime
    ) -> None:
        """Let it be read as its visibility says. Raises `InvalidFieldError`."""

    async def grant(
        self, id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> bool:
        """Grant an action; answer whether that is new."""

    async def revoke(self, id: str, principal: str, action: Action) -> bool:
        """Take a grant back; whether it was there. Raises `LastAdministratorError`."""

    async def grants(self, id: str) -> list[Granted]:
        """Who may do what."""

    async def circle(self, id: str) -> Circle:
        """Who may read it, and who may write to it."""

    async def settle(self, id: str, now: datetime) -> None:
        """Make its readers of its grants, and let its assets have what they have of them."""

    async def principal(self, text: str) -> str:
        """The principal of an id or a handle. Raises `NotFoundError`."""

    async def owner(self, organization: str, team: str, by: Principal) -> Owner:
        """An organisation or a team of the caller. Raises `NotFoundError`, `NotAMemberError`."""


class Circle(NamedTuple):
    """Who may read something, and who may change it: principals, sorted."""

    readers: tuple[str, ...]
    writers: tuple[str, ...]


@dataclass(slots=True)
class Told:
    """What is to be written down of a change, when all else is done."""

    action: str
    experiment: Experiment
    by: Principal
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


class Rows(Protocol):
    """All of it, as one transaction sees and changes it."""

    @property
    def experiments(self) -> Experiments:
        """Experiments, variations, findings."""

    @property
    def runs(self) -> Runs:
        """Runs of variations."""

    @property
    def links(self) -> Links:
        """Inputs and outputs."""

    @property
    def access(self) -> Access:
        """Who may do what."""

    async def record(self, told: Told) -> None:
        """Add a row to the audit, and let watchers know that the experiment has changed."""

    async def leave(self, kind: str, key: str, body: Mapping[str, Any], now: datetime) -> None:
        """Leave word of what is to be done in another service."""


class Shelf(Protocol):
    """Where it is kept. Work awaits nothing but its rows, and may be run twice."""

    async def change(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work as one transaction, all or nothing."""

    async def look(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work that changes nothing, and sees one moment."""
