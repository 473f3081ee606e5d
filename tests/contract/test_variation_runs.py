"""Runs of variations: leases, fencing, and what is left to be told, on both engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from asgard_server.auth.principal import Principal, RunScope
from asgard_server.experiment.leases import Wandb, wandb
from asgard_server.experiment.link_store import Which
from asgard_server.experiment.working import Place, Started
from asgard_server.store.sql import run_outputs
from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError
from gimle.asgard.core.experiment_errors import (
    ExperimentRetractedError,
    ExperimentStateError,
    RunLeaseLostError,
    VariationRunStateError,
    WandbPartialTripleError,
)
from prometheus_client import REGISTRY

from tests.contract.experiment_homes import ADA, STRANGER, Lab, a_lab, run0
from tests.contract.sql_homes import ENGINES


@pytest.fixture(params=ENGINES)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(request.param, tmp_path) as opened:
        yield opened


async def started(lab: Lab, place: Place, worker: str = "w", seconds: float = 10) -> Started:
    return await lab.floor.start(place, worker, seconds, None, ADA)


async def require_lease(lab: Lab, id: str, late: str) -> None:
    """What an output of run 0 is asked for."""
    await lab.database.write(lambda session: run_outputs.require_lease(session, id, 0, 0, late))


def token(made: Started) -> str:
    assert made.run.lease_token is not None
    return made.run.lease_token


async def test_a_run_goes_from_pending_over_running_to_its_end(lab: Lab) -> None:
    place = run0(await lab.committed())
    assert (await lab.floor.find(place, ADA)).status == "pending"
    with pytest.raises(VariationRunStateError, match="start it first"):
        await lab.floor.end(place, "succeeded", "", "", ADA)
    made = await started(lab, place)
    assert (made.run.status, made.run.fence) == ("running", 1)
    lab.clock.move(9)
    beaten = await lab.floor.beat(place, token(made), ADA)
    assert beaten.lease_until is not None
    assert (beaten.lease_until - lab.clock()).total_seconds() == 10
    done = await lab.floor.end(place, "succeeded", "", token(made), ADA)
    assert (done.status, done.lease_until) == ("succeeded", None)
    assert await lab.floor.end(place, "succeeded", "", token(made), ADA) == done
    with pytest.raises(VariationRunStateError, match="it has ended"):
        await lab.floor.end(place, "failed_crash", "late", token(made), ADA)
    with pytest.raises(VariationRunStateError):
        await lab.floor.beat(place, token(made), ADA)
    with pytest.raises(VariationRunStateError, match="resume the variation"):
        await started(lab, place)
    assert [json.loads(body)["status"] for _, body in await lab.words()] == [
        *("pending", "running", "succeeded"),
    ]


async def test_a_worker_that_is_silent_for_its_lease_loses_the_run_and_what_it_left_pending(
    lab: Lab,
) -> None:
    id = await lab.committed()
    place = run0(id)
    made = await started(lab, place)
    pending, ready = await lab.output(id, state="pending"), await lab.output(id)
    lab.clock.move(9.9)
    assert await lab.sweeper.sweep() == 0
    lab.clock.move(0.1)
    assert await lab.sweeper.sweep() == 1
    assert (await lab.floor.find(place, ADA)).status == "failed_lost"
    assert (await lab.state_of(pending))[0] == "abandoned"
    assert (await lab.state_of(ready))[0] == "ready"
    assert json.loads((await lab.words())[-1][1])["status"] == "failed_lost"
    for late in (token(made), ""):
        with pytest.raises(RunLeaseLostError):
            await lab.floor.beat(place, late, ADA)
        with pytest.raises(RunLeaseLostError):
            await lab.floor.end(place, "succeeded", "", late, ADA)
        with pytest.raises(RunLeaseLostError):
            await require_lease(lab, id, late)
    assert await lab.sweeper.sweep() == 0


async def test_a_second_worker_is_refused_while_the_first_has_the_run(lab: Lab) -> None:
    place = run0(await lab.committed())
    made = await started(lab, place, "one")
    for other in ("two", ""):
        with pytest.raises(VariationRunStateError, match="another worker has it"):
            await started(lab, place, other)
    await lab.floor.beat(place, token(made), ADA)


async def test_of_two_workers_who_start_at_once_one_has_the_run(lab: Lab) -> None:
    for number in range(4):
        place = run0(await lab.committed())
        outcome = await asyncio.gather(
            *(started(lab, place, f"w{each}") for each in range(3)), return_exceptions=True
        )
        assert [type(each) for each in outcome].count(Started) == 1, (number, outcome)


async def test_a_worker_that_starts_its_run_again_fences_off_who_it_was_before(lab: Lab) -> None:
    id = await lab.committed()
    place = run0(id)
    before, after = await started(lab, place), await started(lab, place)
    assert (after.run.fence, after.run.started_at) == (2, before.run.started_at)
    with pytest.raises(RunLeaseLostError):
        await lab.floor.beat(place, token(before), ADA)
    with pytest.raises(RunLeaseLostError):
        await lab.floor.end(place, "failed_crash", "old", token(before), ADA)
    with pytest.raises(RunLeaseLostError):
        await require_lease(lab, id, token(before))
    await lab.floor.end(place, "succeeded", "", token(after), ADA)


async def test_a_heartbeat_beside_the_sweep_comes_first_or_is_refused(lab: Lab) -> None:
    for _ in range(6):
        place = run0(await lab.committed())
        made = await started(lab, place, seconds=5)
        lab.clock.move(5)
        beaten, lost = await asyncio.gather(
            lab.floor.beat(place, token(made), ADA), lab.sweeper.sweep(), return_exceptions=True
        )
        status = (await lab.floor.find(place, ADA)).status
        if isinstance(beaten, Exception):
            assert (type(beaten), lost, status) == (RunLeaseLostError, 1, "failed_lost")
        else:
            assert (lost, status) == (0, "running")
            await lab.floor.end(place, "succeeded", "", token(made), ADA)


async def test_two_replicas_that_sweep_at_once_end_a_run_once(lab: Lab) -> None:
    place = run0(await lab.committed())
    await started(lab, place)
    lab.clock.move(11)
    ended = await asyncio.gather(lab.sweeper.sweep(), lab.a_sweeper().sweep())
    assert sum(ended) == 1
    assert [json.loads(body)["status"] for _, body in await lab.words()].count("failed_lost") == 1
    assert (await lab.audited()).count("run.failed_lost") == 1


async def test_a_run_that_fails_gives_up_what_it_left_pending_but_not_what_awaits_review(
    lab: Lab,
) -> None:
    id = await lab.committed()
    made = await started(lab, run0(id))
    pending, whole = [await lab.output(id, state="pending") for _ in range(2)]
    await lab.database.write(
        lambda session: session.run(
            "UPDATE assets SET size_bytes = 3, pending_reasons = '[\"review_required\"]'"
            " WHERE id = ?",
            whole,
        )
    )
    with pytest.raises(InvalidFieldError, match="reason"):
        await lab.floor.end(run0(id), "failed_crash", " ", token(made), ADA)
    done = await lab.floor.end(run0(id), "failed_crash", "it diverged", token(made), ADA)
    assert (done.status, done.reason) == ("failed_crash", "it diverged")
    assert (await lab.state_of(pending))[0] == "abandoned"
    assert (await lab.state_of(whole))[0] == "pending"
    assert (await lab.audited()).count("asset.abandon") == 1


async def test_resuming_makes_the_next_run_once_the_newest_has_ended(lab: Lab) -> None:
    id = await lab.committed()
    pending = await lab.floor.resume(id, 0, ADA)
    assert pending.number == 0
    made = await started(lab, run0(id))
    with pytest.raises(VariationRunStateError, match="wait until it has ended"):
        await lab.floor.resume(id, 0, ADA)
    await lab.floor.end(run0(id), "failed_crash", "x", token(made), ADA)
    one, two = await asyncio.gather(lab.floor.resume(id, 0, ADA), lab.floor.resume(id, 0, ADA))
    assert (one.number, one.status) == (1, "pending")
    assert one == two
    _, runs = await lab.linker.variation(id, 0, ADA, 10)
    assert [run.number for run in runs] == [0, 1]
    with pytest.raises(ExperimentStateError):
        await lab.floor.resume(await lab.open(), 0, ADA)
    await lab.retractor.experiment(id, "wrong", None, ADA)
    with pytest.raises(ExperimentRetractedError):
        await lab.floor.resume(id, 0, ADA)


async def test_the_three_names_of_wandb_come_together_and_are_written_as_an_output(
    lab: Lab,
) -> None:
    assert wandb("", "", "", "") is None
    for partial in (("r", "", ""), ("r", "e", ""), ("", "", "p")):
        with pytest.raises(WandbPartialTripleError, match="wandb_partial_triple"):
            wandb(*partial, "")
    with pytest.raises(WandbPartialTripleError):
        wandb("", "", "", "https://wandb.example/r")
    id = await lab.committed()
    made = await lab.floor.start(run0(id), "w", None, Wandb("r", "e", "p"), ADA)
    again = await lab.floor.start(run0(id), "w", None, Wandb("r", "e", "p"), ADA)
    assert again.wandb_asset_id == ""
    which = Which("output", variation=0, run=0)
    outputs = await lab.linker.assets(id, which, ADA, 10)
    assert [(each.id, each.asset_type, each.state) for each in outputs] == [
        (made.wandb_asset_id, "wandb_run", "ready")
    ]
    body = await lab.database.read(
        lambda session: session.value(
            "SELECT body FROM asset_contents WHERE asset_id = ?", made.wandb_asset_id
        )
    )
    assert json.loads(bytes(body))["entity"] == "e"


@pytest.mark.parametrize("variation", [None, 0])
async def test_where_a_run_is_logged_to_is_invalid_from_its_beginning_once_it_was_taken_back(
    lab: Lab, variation: int | None
) -> None:
    id = await lab.committed()
    if variation is None:
        await lab.retractor.experiment(id, "wrong", None, ADA)
    else:
        await lab.retractor.variation(id, variation, "wrong", ADA)
    made = await lab.floor.start(run0(id), "w", None, Wandb("r", "e", "p"), ADA)
    assert await lab.state_of(made.wandb_asset_id) == ("ready", "wrong")


async def test_an_end_that_is_told_again_is_counted_once(lab: Lab) -> None:
    def counted() -> float:
        name = "asgard_variation_runs_ended_total"
        return REGISTRY.get_sample_value(name, {"how": "succeeded"}) or 0.0

    place = run0(await lab.committed())
    made, before = await started(lab, place), counted()
    for _ in range(2):
        await lab.floor.end(place, "succeeded", "", token(made), ADA)
    assert counted() == before + 1


async def test_the_newest_ready_output_comes_first_where_that_is_asked_for(lab: Lab) -> None:
    id = await lab.committed()
    for seconds in (0, 5):
        lab.clock.move(seconds)
        await lab.output(id, asset_type="checkpoint", state="pending")
        newest = await lab.output(id, asset_type="checkpoint")
    await lab.output(id, asset_type="image")
    which = Which("output", variation=0, asset_type="checkpoint", newest_ready=True)
    found = await lab.linker.run_assets(id, which, 0, ADA, 10)
    assert [each.state for each in found] == ["ready", "ready"]
    assert found[0].id == newest
    with pytest.raises(NotFoundError):
        await lab.linker.run_assets(id, replace(which, variation=1), 0, ADA, 10)


async def test_a_worker_s_key_is_refused_by_every_other_run(lab: Lab) -> None:
    id = await lab.committed(2)
    worker = Principal("ada", kind="worker", run=RunScope(id, 0, 0))
    made = await lab.floor.start(run0(id), "w", None, None, worker)
    await lab.floor.beat(run0(id), token(made), worker)
    for ask in (
        lab.floor.start(run0(id, 1), "w", None, None, worker),
        lab.floor.beat(run0(id, 1), "", worker),
        lab.floor.end(run0(id, 1), "succeeded", "", "", worker),
    ):
        with pytest.raises(ForbiddenError):
            await ask
    for stranger in (
        lab.floor.start(run0(id), "w", None, None, STRANGER),
        lab.floor.beat(run0(id), "", STRANGER),
        lab.floor.find(run0(id), STRANGER),
    ):
        with pytest.raises(NotFoundError, match=f"no experiment {id}"):
            await stranger


@pytest.mark.parametrize("seconds", [0.5, 86_401, -1])
async def test_a_lease_is_of_a_second_to_a_day(lab: Lab, seconds: float) -> None:
    place = run0(await lab.committed())
    with pytest.raises(InvalidFieldError, match="lease_duration"):
        await started(lab, place, seconds=seconds)
