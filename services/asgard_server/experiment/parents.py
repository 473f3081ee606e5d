"""What experiments are built upon: who may read it, and what may be built upon what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gimle.asgard.core.experiment_errors import ExperimentStateError

from asgard_server.auth.principal import Principal
from asgard_server.experiment import domain
from asgard_server.experiment.domain import Experiment, Parent
from asgard_server.experiment.store import Rows


async def readable_parents(
    rows: Rows, ids: Sequence[str], by: Principal
) -> Mapping[str, list[tuple[Parent, Experiment]]]:
    """The parents of each of these that the caller may read."""
    parents = await rows.experiments.parents_of(ids)
    named = {each.id for some in parents.values() for each in some}
    known = await rows.experiments.readable(sorted(named), by)
    return {
        id: [(each, known[each.id]) for each in some if each.id in known]
        for id, some in parents.items()
    }


async def check_parents(
    rows: Rows, parents: Sequence[Parent], by: Principal, *, retracted: bool
) -> None:
    """Hold those that an experiment is to be built upon.

    Raises `NotFoundError`, `ForbiddenError`; `ExperimentRetractedError` unless `retracted` ones
    will do.
    """
    for each in sorted(parents, key=lambda parent: parent.id):
        # Held, so that it is not deleted meanwhile.
        found = await rows.experiments.find(each.id, lock=True)
        await rows.access.require(each.id, by, "read")
        if not retracted:
            domain.require_standing(
                found, "give allow_retracted_parent to build on it all the same"
            )


async def refuse_circle(rows: Rows, id: str, parents: Sequence[Parent]) -> None:
    """Raise `ExperimentStateError` where an experiment would be built upon itself."""
    behind, known = {each.id for each in parents}, set[str]()
    while behind:
        if id in behind:
            raise ExperimentStateError(
                id, "open", "leave them out", problem="and would be built upon itself"
            )
        known |= behind
        found = await rows.experiments.parents_of(sorted(behind))
        behind = {each.id for some in found.values() for each in some} - known
