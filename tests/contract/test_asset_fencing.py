"""A worker whose run is another's by now makes and finalizes nothing of it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.asset.domain import OutputOf
from asgard_server.experiment.working import Started
from gimle.asgard.core.experiment_errors import RunLeaseLostError

from tests.contract.asset_homes import ADA, ENGINES, AssetHome, asset_home
from tests.contract.experiment_homes import Lab, run0


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


def token(made: Started) -> str:
    assert made.run.lease_token is not None
    return made.run.lease_token


async def test_a_stale_fencing_token_finalizes_nothing_and_makes_nothing(home: AssetHome) -> None:
    lab = Lab(home.database)
    id = await lab.committed()
    before = await lab.floor.start(run0(id), "w", 10, None, ADA)
    output = OutputOf(id, 0, 0)
    made = await home.create(output_of=output, lease_token=token(before))
    await home.send(made)
    after = await lab.floor.start(run0(id), "w", 10, None, ADA)

    with pytest.raises(RunLeaseLostError):
        await home.finisher.finalize(ADA, made.asset.id, token(before))
    assert (await lab.state_of(made.asset.id))[0] == "pending"
    with pytest.raises(RunLeaseLostError):
        await home.create(output_of=output, lease_token=token(before))
    with pytest.raises(RunLeaseLostError):
        await home.create(output_of=output, content=b"{}", lease_token=token(before))

    asset = await home.finisher.finalize(ADA, made.asset.id, token(after))
    assert asset.state == "ready"
    # Of what is ready the late worker is not told that it has made it.
    other = await home.create(output_of=output, lease_token=token(after))
    await home.send(other)
    lab.clock.move(10)
    assert await lab.sweeper.sweep() == 1
    for late in (token(after), ""):
        with pytest.raises(RunLeaseLostError):
            await home.create(output_of=output, content=b"{}", lease_token=late)


async def test_of_a_finalization_and_a_new_start_the_late_one_is_refused(home: AssetHome) -> None:
    """Either it was ready before the run was another's, or it is pending and stays so."""
    lab = Lab(home.database)
    for turn in range(6):
        id = await lab.committed()
        before = await lab.floor.start(run0(id), "w", 10, None, ADA)
        made = await home.create(output_of=OutputOf(id, 0, 0), lease_token=token(before))
        await home.send(made)
        finalizing = home.finisher.finalize(ADA, made.asset.id, token(before))
        starting = lab.floor.start(run0(id), "w", 10, None, ADA)
        calls = [finalizing, starting]
        ended = await asyncio.gather(*(calls if turn % 2 else calls[::-1]), return_exceptions=True)
        failed = [each for each in ended if isinstance(each, BaseException)]
        assert all(isinstance(each, RunLeaseLostError) for each in failed), failed
        state = (await lab.state_of(made.asset.id))[0]
        assert state == ("pending" if failed else "ready")
