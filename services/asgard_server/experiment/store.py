"""The port of ExperimentService: experiments and what belongs to them, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from asgard_server.auth.principal import Principal
from asgard_server.experiment.access_store import Access
from asgard_server.experiment.domain import Experiment, Finding, Parent, Variation
from asgard_server.experiment.leases import Run
from asgard_server.experiment.link_store import Links

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which experiments of a list are wanted. `owner`: a user, team or organisation, by id or
    handle; of nobody there are none.
    """

    state: str = ""
    retracted: bool = False
    owner: str = ""


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
