"""What a worker does with a run of a variation: starting it, keeping it alive, ending it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.experiment_errors import VariationRunStateError

from asgard_server.access.domain import Action
from asgard_server.auth.principal import Principal
from asgard_server.experiment import documents, domain, leases, metrics, wishes
from asgard_server.experiment.changing import Changing
from asgard_server.experiment.domain import Experiment, Variation
from asgard_server.experiment.leases import Run, Status, Wandb, Worker
from asgard_server.experiment.seeing import held
from asgard_server.experiment.store import Rows, Told

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Which run is meant."""

    experiment_id: str
    variation: int
    run: int


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was started, and the asset that says where it is logged to; empty without one."""

    run: Run
    wandb_asset_id: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    """A run with what it belongs to, while nobody else changes them."""

    experiment: Experiment
    variation: Variation
    run: Run


class Floor(Changing):
    """Runs as workers see them; else as `Keeper`. All that is said with a late token is refused."""

    async def find(self, place: Place, by: Principal) -> Run:
        """Look up a run."""

        async def look(rows: Rows) -> Run:
            await rows.access.require(place.experiment_id, by, "read")
            return await rows.runs.find(place.experiment_id, place.variation, place.run)

        return await self._shelf.look(look)

    async def start(
        self, place: Place, worker: str, seconds: float | None, wandb: Wandb | None, by: Principal
    ) -> Started:
        """Give a worker the run. Raises `VariationRunStateError`, `InvalidFieldError`."""
        who = Worker(
            wishes.worker(worker), secrets.token_urlsafe(24), leases.lease_seconds(seconds), wandb
        )
        now = self._clock()

        async def start(rows: Rows) -> Started:
            found = await _held(rows, place, by)
            domain.require(found.experiment, "run")
            after = leases.started(found.run, who, now)
            await rows.runs.put(after)
            asset_id = ""
            if wandb is not None and wandb != found.run.wandb:
                asset_id = await rows.links.add_wandb(after, by, now)
            await _tell(rows, found, after, by, now, "run.start", {"worker": who.name})
            return Started(after, asset_id)

        return await self._change(start)

    async def beat(self, place: Place, token: str, by: Principal) -> Run:
        """Prolong the lease. Raises `RunLeaseLostError`, `VariationRunStateError`."""
        now = self._clock()

        async def beat(rows: Rows) -> Run:
            await rows.access.require(place.experiment_id, by, "write")
            _require_own(by, place)
            found = await _run(rows, place, lock=True)
            after = leases.beaten(found, token, now)
            await rows.runs.put(after)
            return after

        return await self._shelf.change(beat)

    async def end(
        self, place: Place, status: Status, reason: str, token: str, by: Principal
    ) -> Run:
        """Say how it has ended; what it left pending is given up unless it has succeeded.

        Raises `RunLeaseLostError`, `VariationRunStateError`, `InvalidFieldError`.
        """
        why = reason if status == "succeeded" else wishes.reason(reason)
        now = self._clock()

        async def end(rows: Rows) -> tuple[Run, bool]:
            found = await _held(rows, place, by)
            after = leases.ended(found.run, status, why, token, now)
            if after is found.run:
                return after, False
            await rows.runs.put(after)
            if status != "succeeded":
                await rows.runs.abandon_assets(after, f"the run has failed: {why}", by, now)
            await _tell(rows, found, after, by, now, f"run.{status}", {"reason": why})
            return after, True

        ended, changed = await self._change(end)
        if changed:
            metrics.ENDED.labels(status).inc()
        return ended

    async def resume(self, id: str, number: int, by: Principal) -> Run:
        """Make another run, or answer the pending one.

        Raises `VariationRunStateError`, `ExperimentStateError`, `ExperimentRetractedError`.
        """
        now = self._clock()

        async def resume(rows: Rows) -> Run:
            into = domain.require(await held(rows, id, by, "write"), "resume")
            domain.require_standing(into, "no more runs are made of it")
            variation = await rows.experiments.variation(id, number)
            if variation.retraction is not None:
                raise domain.variation_gone(variation)
            newest = await _run(rows, Place(id, number, variation.runs - 1), lock=True)
            if newest.status == "pending":
                return newest
            if not newest.has_ended:
                raise VariationRunStateError(
                    newest.run_id, newest.status, "wait until it has ended"
                )
            after = replace(variation, runs=variation.runs + 1)
            await rows.experiments.put_variation(after)
            made = await documents.add_run(rows, into, after, variation.runs, now)
            details = {"variation": number, "run": made.number}
            await rows.record(Told("variation.resume", into, by, now, details))
            return made

        return await self._change(resume)


async def lose(rows: Rows, place: Place, by: Principal, now: datetime) -> Run | None:
    """End a run whose worker has been silent for too long, and give up what it left pending.

    None where that is not so any more.
    """
    experiment = await rows.experiments.find(place.experiment_id, lock=True)
    variation = await rows.experiments.variation(place.experiment_id, place.variation)
    found = await _run(rows, place, lock=True)
    after = leases.lost(found, now)
    if after is found:
        return None
    await rows.runs.put(after)
    await rows.runs.abandon_assets(after, f"the run was lost: {leases.LOST}", by, now)
    held_run = _Held(experiment, variation, found)
    await _tell(rows, held_run, after, by, now, "run.failed_lost", {"reason": after.reason})
    return after


async def _held(rows: Rows, place: Place, by: Principal, action: Action = "write") -> _Held:
    experiment = await held(rows, place.experiment_id, by, action, worker=True)
    _require_own(by, place)
    variation = await rows.experiments.variation(place.experiment_id, place.variation)
    return _Held(experiment, variation, await _run(rows, place, lock=True))


async def _run(rows: Rows, place: Place, *, lock: bool) -> Run:
    return await rows.runs.find(place.experiment_id, place.variation, place.run, lock=lock)


def _require_own(by: Principal, place: Place) -> None:
    """Raise `ForbiddenError` for a worker's key that is tied to another run."""
    tied = by.run
    if tied is not None and (tied.experiment_id, tied.variation, tied.run) != (
        *(place.experiment_id, place.variation, place.run),
    ):
        raise ForbiddenError("a worker's key is for its run alone")


async def _tell(
    rows: Rows,
    found: _Held,
    after: Run,
    by: Principal,
    now: datetime,
    action: str,
    details: dict[str, object],
) -> None:
    await documents.tell(rows, found.experiment, found.variation, after, now)
    said = {"variation": after.variation, "run": after.number, "fence": after.fence, **details}
    await rows.record(Told(action, found.experiment, by, now, said))
