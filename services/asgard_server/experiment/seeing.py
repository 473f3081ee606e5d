"""Experiments as a caller sees them, and holds them to change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gimle.asgard.core.access_errors import ForbiddenError

from asgard_server.access.domain import Action
from asgard_server.auth.principal import Principal
from asgard_server.experiment.domain import Experiment, Finding, Parent, Variation
from asgard_server.experiment.leases import Run
from asgard_server.experiment.link_store import LinkedAsset
from asgard_server.experiment.parents import readable_parents
from asgard_server.experiment.store import Rows


@dataclass(frozen=True, slots=True)
class Seen:
    """An experiment as a caller sees it. `parents`: those that the caller may read."""

    experiment: Experiment
    parents: Sequence[tuple[Parent, Experiment]] = ()
    actions: frozenset[Action] = frozenset()


@dataclass(frozen=True, slots=True)
class SeenVariation:
    """A variation, its newest run, and the inputs that the caller may read."""

    variation: Variation
    latest: Run | None = None
    inputs: Sequence[LinkedAsset] = ()


@dataclass(frozen=True, slots=True)
class Detail:
    """All of an experiment that a caller may read."""

    seen: Seen
    variations: Sequence[SeenVariation]
    inputs: Sequence[LinkedAsset]
    findings: Sequence[Finding]


async def held(
    rows: Rows, id: str, by: Principal, action: Action, *, worker: bool = False
) -> Experiment:
    """An experiment that the caller may do this with, and nobody else changes meanwhile.

    `worker`: a worker's key is enough, where it is of a run of this experiment. Raises
    `NotFoundError`, `ForbiddenError`.
    """
    found = await rows.experiments.find(id, lock=True)
    await rows.access.require(id, by, action)
    if by.run is not None and not (worker and by.run.experiment_id == id):
        require_no_worker(by)
    return found


def require_no_worker(by: Principal) -> None:
    """Raise `ForbiddenError` for a key that is tied to a run."""
    if by.run is not None:
        raise ForbiddenError("a worker's key is for its run alone; use one of your own")


async def seen(rows: Rows, experiment: Experiment, by: Principal) -> Seen:
    """The experiment as the caller sees it."""
    actions = await rows.access.actions(experiment.id, by)
    parents = await readable_parents(rows, [experiment.id], by)
    return Seen(experiment, parents[experiment.id], actions)
