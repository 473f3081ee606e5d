"""What an experiment is built upon, and what is built upon it, as far as a caller may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.auth.principal import Principal
from asgard_server.experiment.domain import Experiment
from asgard_server.experiment.link_store import Step
from asgard_server.experiment.store import Rows, Shelf

DEFAULT_DEPTH, MOST_DEPTH = 5, 20
NODES = 1_000

Way = Literal["upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Experiments with their distance (negative upstream), and the steps between them.

    `is_cut`: there is more behind the depth, or behind 1,000 experiments.
    """

    nodes: Sequence[tuple[Experiment, int]]
    steps: Sequence[Step]
    is_cut: bool


class Downstream(NamedTuple):
    """An experiment that builds on another: by an output, or as a whole (`asset_id` empty)."""

    experiment: Experiment
    asset_id: str
    variation: int | None
    distance: int


class TakenBack(NamedTuple):
    """An experiment that is retracted, or an asset that is invalidated, upstream."""

    kind: Literal["experiment", "asset"]
    id: str
    label: str
    reason: str
    at: datetime
    distance: int


@dataclass(slots=True)
class _Walk:
    """What a walk has found so far: experiments by their distance, and steps."""

    found: dict[str, tuple[Experiment, int]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    is_cut: bool = False


class Tracer:
    """Where experiments come from and where they lead to."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def lineage(self, id: str, direction: str, depth: int, by: Principal) -> Lineage:
        """Both ways, or one. Raises `NotFoundError`, `InvalidFieldError`."""
        ways = _ways(direction)
        deep = depth_of(depth)

        async def look(rows: Rows) -> Lineage:
            await rows.access.require(id, by, "read")
            walk = _Walk()
            walk.found[id] = (await rows.experiments.find(id), 0)
            for way in ways:
                await _follow(rows, walk, way, {id}, deep, by)
            return Lineage(list(walk.found.values()), walk.steps, walk.is_cut)

        return await self._shelf.look(look)

    async def taken_back(self, id: str, depth: int, by: Principal) -> tuple[list[TakenBack], bool]:
        """What was taken back upstream, the nearest first; and whether there may be more.

        Raises `NotFoundError`, `InvalidFieldError`.
        """
        deep = depth_of(depth)

        async def look(rows: Rows) -> tuple[list[TakenBack], bool]:
            await rows.access.require(id, by, "read")
            walk = _Walk()
            walk.found[id] = (await rows.experiments.find(id), 0)
            await _follow(rows, walk, "upstream", {id}, deep, by)
            return _taken_back(walk), walk.is_cut

        return await self._shelf.look(look)


async def downstream(
    rows: Rows, id: str, variation: int | None, by: Principal, depth: int
) -> list[Downstream]:
    """Who builds on an experiment, or on the outputs of a variation of it; the nearest first."""
    walk = _Walk()
    walk.found[id] = (await rows.experiments.find(id), 0)
    outputs = None
    if variation is not None:
        outputs = await rows.links.outputs(id, variation)
    await _follow(rows, walk, "downstream", {id}, depth, by, only=outputs)
    found = [
        Downstream(walk.found[step.child_id][0], step.asset_id, step.variation, distance)
        for step in walk.steps
        if (distance := walk.found[step.child_id][1]) > 0
    ]
    return sorted(found, key=lambda each: (each.distance, each.experiment.id))[:NODES]


async def _follow(
    rows: Rows,
    walk: _Walk,
    way: Way,
    frontier: set[str],
    depth: int,
    by: Principal,
    only: frozenset[str] | None = None,
) -> None:
    """Walk one way, one distance after the other. `only`: the first steps are by these assets."""
    look = rows.links.upstream if way == "upstream" else rows.links.downstream
    for distance in range(1, depth + 1):
        steps = await look(sorted(frontier), by, NODES)
        if only is not None and distance == 1:
            steps = [each for each in steps if each.asset_id in only]
        walk.is_cut |= len(steps) >= NODES
        ends = {_end(step, way): step for step in steps if _end(step, way)}
        known = await rows.experiments.readable(sorted(ends.keys() - walk.found.keys()), by)
        fresh = dict(sorted(known.items())[: max(0, NODES - len(walk.found))])
        walk.is_cut |= len(fresh) < len(known)
        sign = -1 if way == "upstream" else 1
        for id, experiment in fresh.items():
            walk.found[id] = (experiment, sign * distance)
        walk.steps += [known_step for each in steps if (known_step := _shown(each, way, walk))]
        frontier = set(fresh)
        if not frontier:
            return
    walk.is_cut |= bool(await look(sorted(frontier), by, 1))


def _shown(step: Step, way: Way, walk: _Walk) -> Step | None:
    """A step without an experiment that may not be read.

    An input from there, or from nowhere, is a step of its own: its flags count.
    """
    if _end(step, way) in walk.found:
        return step
    return step._replace(parent_id="") if way == "upstream" and step.asset_id else None


def _end(step: Step, way: Way) -> str:
    return step.parent_id if way == "upstream" else step.child_id


def _taken_back(walk: _Walk) -> list[TakenBack]:
    found: dict[tuple[str, str], TakenBack] = {}
    for experiment, distance in walk.found.values():
        if distance and (back := experiment.retraction) is not None:
            found["experiment", experiment.id] = TakenBack(
                *("experiment", experiment.id, experiment.title, back.reason, back.at),
                -distance,
            )
    for step in walk.steps:
        if step.invalidated is not None and ("asset", step.asset_id) not in found:
            flag = step.invalidated
            found["asset", step.asset_id] = TakenBack(
                *("asset", step.asset_id, step.label, flag.reason, flag.at),
                _distance(walk.found, step) + 1,
            )
    return sorted(found.values(), key=lambda each: (each.distance, each.kind, each.id))


def _distance(found: Mapping[str, tuple[Experiment, int]], step: Step) -> int:
    """How far from the beginning the experiment is that a step leads into."""
    return abs(found[step.child_id][1]) if step.child_id in found else 0


def depth_of(depth: int) -> int:
    """How many steps are followed. Raises `InvalidFieldError`."""
    if not 0 <= depth <= MOST_DEPTH:
        raise InvalidFieldError("depth", f"is {depth}", f"give 1 to {MOST_DEPTH}, or 0 for 5")
    return depth or DEFAULT_DEPTH


def _ways(direction: str) -> tuple[Way, ...]:
    if direction == "":
        return ("upstream", "downstream")
    if direction == "upstream":
        return ("upstream",)
    if direction == "downstream":
        return ("downstream",)
    raise InvalidFieldError(
        "direction", f"is {direction[:80]!r}", "give upstream or downstream, or leave it out"
    )
