"""Experiments of very many assets: what is taken back goes at once, what is given comes later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.outbox.delivery import Delivery
from asgard_server.store.sql import asset_log, inheriting
from asgard_server.store.sql.asset_upkeep import OwnTurns
from asgard_server.store.sql.experiment_access import SqlAccess
from asgard_server.store.sql.inheriting import WORD, Inheritance
from asgard_server.store.sql.outbox import SqlOutbox
from asgard_server.store.sql.session import Session

from tests.contract.experiment_homes import ADA, Lab, a_lab
from tests.contract.sql_homes import ENGINES

OUTPUTS = 12


@pytest.fixture(params=ENGINES)
async def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lab]:
    monkeypatch.setattr(inheriting, "WIDE", OUTPUTS - 1)
    monkeypatch.setattr(inheriting, "_AT_ONCE", 5)
    async with a_lab(request.param, tmp_path) as opened:
        yield opened


async def settle(lab: Lab, id: str, *, grant: str = "", revoke: str = "") -> None:
    """Change who may read an experiment, in one transaction."""

    async def work(session: Session) -> None:
        changes: list[asset_log.Change] = []
        access = SqlAccess(session, changes.append)
        if grant:
            await access.grant(id, grant, "read", ADA, lab.clock())
        if revoke:
            await access.revoke(id, revoke, "read")
        await access.settle(id, lab.clock())
        await asset_log.log_all(session, changes)

    await lab.database.write(work)


async def deliver(lab: Lab) -> None:
    give = Inheritance(lab.database, lab.clock, lab._told).give

    async def nothing(body: object) -> None:
        """Nobody else is told here."""

    kinds = {kind: nothing for kind, _ in await lab.words()}
    lab.clock.move(1)
    outbox = SqlOutbox(lab.database)
    await Delivery(outbox, OwnTurns(), lab.clock, {**kinds, WORD: give}).deliver()


async def readers(lab: Lab, outputs: list[str]) -> list[set[str]]:
    return [set(await lab.readers(each)) for each in outputs]


async def logged(lab: Lab) -> list[str]:
    async def log(session: Session) -> list[str]:
        rows = await session.all(
            "SELECT object_id FROM asset_log WHERE object_kind = 'asset' ORDER BY revision"
        )
        return [row[0] for row in rows]

    return await lab.database.read(log)


async def test_a_grant_of_a_wide_experiment_comes_to_all_of_its_assets(lab: Lab) -> None:
    id = await lab.committed()
    outputs = [await lab.output(id) for _ in range(OUTPUTS)]
    await deliver(lab)
    before = await logged(lab)
    await settle(lab, id, grant="ben")
    assert await readers(lab, outputs) == [{"ada"}] * OUTPUTS
    assert await logged(lab) == before
    rings = lab.rings
    await deliver(lab)
    assert await readers(lab, outputs) == [{"ada", "ben"}] * OUTPUTS
    assert sorted((await logged(lab))[len(before) :]) == sorted(outputs)
    assert lab.rings > rings + 1, "not in several transactions"
    # What is delivered twice changes nothing, and is told to nobody.
    await Inheritance(lab.database, lab.clock, lab._told).give({"experiment_id": id})
    await Inheritance(lab.database, lab.clock, lab._told).give({"experiment_id": "none"})
    assert len(await logged(lab)) == len(before) + OUTPUTS


async def test_what_a_wide_experiment_takes_back_is_gone_at_once_and_does_not_come_back(
    lab: Lab,
) -> None:
    id = await lab.committed()
    outputs = [await lab.output(id) for _ in range(OUTPUTS)]
    await settle(lab, id, grant="ben")
    await deliver(lab)
    before = await logged(lab)
    await settle(lab, id, revoke="ben")
    assert await readers(lab, outputs) == [{"ada"}] * OUTPUTS
    assert sorted((await logged(lab))[len(before) :]) == sorted(outputs)
    # A grant that is taken back before it has come to all never comes.
    await settle(lab, id, grant="eve")
    await settle(lab, id, revoke="eve", grant="joe")
    await deliver(lab)
    assert await readers(lab, outputs) == [{"ada", "joe"}] * OUTPUTS


async def test_an_experiment_of_fewer_assets_gives_in_the_same_transaction(lab: Lab) -> None:
    id = await lab.committed()
    outputs = [await lab.output(id) for _ in range(OUTPUTS - 2)]
    await settle(lab, id, grant="ben")
    assert await readers(lab, outputs) == [{"ada", "ben"}] * len(outputs)
    assert WORD not in [kind for kind, _ in await lab.words()]
