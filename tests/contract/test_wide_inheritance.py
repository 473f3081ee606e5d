"""Experiments of very many assets: what is taken back goes at once, what is given comes later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.access.domain import Action
from asgard_server.outbox.delivery import Delivery
from asgard_server.store.sql import access, asset_log, inheriting, links
from asgard_server.store.sql.asset_upkeep import OwnTurns
from asgard_server.store.sql.experiment_access import SqlAccess
from asgard_server.store.sql.inheriting import WORD, Inheritance
from asgard_server.store.sql.outbox import SqlOutbox
from asgard_server.store.sql.session import Session
from asgard_server.store.sql.sharing import SqlSharing

from tests.contract.asset_rows import NOON
from tests.contract.experiment_homes import ADA, Lab, a_lab
from tests.contract.overlapping import Overlapping
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


async def settle(
    lab: Lab, id: str, *, grant: str = "", revoke: str = "", action: Action = "read"
) -> None:
    """Change who may read an experiment, in one transaction."""

    async def work(session: Session) -> None:
        changes: list[asset_log.Change] = []
        of_it = SqlAccess(session, changes.append)
        if grant:
            await of_it.grant(id, grant, action, ADA, lab.clock())
        if revoke:
            await of_it.revoke(id, revoke, action)
        await of_it.settle(id, lab.clock())
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


async def entries(lab: Lab) -> dict[str, tuple[set[str], set[str]]]:
    """Of each asset the newest entry: who could read it before, and who can."""
    found = await lab.database.read(lambda session: asset_log.behind(session, 0, 10_000))
    return {each.id: (set(each.before), set(each.after)) for _, each in found}


async def test_who_reads_on_by_another_grant_does_and_the_log_says_of_each_asset_who_does_not(
    lab: Lab,
) -> None:
    id, clock = await lab.committed(), lab.clock
    outputs = [await lab.output(id) for _ in range(OUTPUTS)]
    await settle(lab, id, grant="ben")
    await settle(lab, id, grant="eve")
    await deliver(lab)

    async def more(session: Session) -> None:
        """Ben may read the first by a grant of its own, and write to all by the experiment."""
        created_at = await access.hold(session, "asset", outputs[0])
        await access.grant(session, "asset", outputs[0], "ben", "read", "own", "ada", 1)
        await access.regrant(session, "asset", outputs[0], created_at)
        changes: list[asset_log.Change] = []
        of_it = SqlAccess(session, changes.append)
        await of_it.grant(id, "eve", "write", ADA, clock())
        await of_it.settle(id, clock())
        await asset_log.log_all(session, changes)

    await lab.database.write(more)
    await deliver(lab)
    before = (await lab.database.look(asset_log.head))[1]
    await settle(lab, id, revoke="ben")
    rest = [{"ada", "eve"}] * (OUTPUTS - 1)
    assert await readers(lab, outputs) == [{"ada", "ben", "eve"}, *rest]
    told = await entries(lab)
    everybody = {"ada", "ben", "eve"}
    assert told[outputs[0]] == (everybody, everybody)
    assert [told[each] for each in outputs[1:]] == [(everybody, {"ada", "eve"})] * (OUTPUTS - 1)
    # Dense, with the experiment's own.
    assert (await lab.database.look(asset_log.head))[1] == before + OUTPUTS + 1
    # Eve may not read it by that any more, but write, which lets her read.
    await settle(lab, id, revoke="eve")
    assert await readers(lab, outputs) == [everybody, *rest]
    # What is taken from nobody is told of no asset.
    at = (await lab.database.look(asset_log.head))[1]
    await settle(lab, id)
    assert (await lab.database.look(asset_log.head))[1] <= at + 1


async def test_inputs_lose_their_readers_with_the_outputs(lab: Lab) -> None:
    id = await lab.committed()
    outputs = [await lab.output(id) for _ in range(OUTPUTS)]
    shared = await lab.asset()

    async def link(session: Session) -> None:
        wish = links.Link(shared, "input", id, propagate_acl=True, linked_by="ada", linked_at=NOON)
        await links.link(session, wish, ADA)

    await lab.database.write(link)
    await settle(lab, id, grant="ben", action="write")
    await settle(lab, id, grant="eve")
    await deliver(lab)
    assert await readers(lab, [shared, outputs[0]]) == [{"ada", "ben", "eve"}] * 2
    await settle(lab, id, revoke="eve")
    assert await readers(lab, [shared, outputs[0]]) == [{"ada", "ben"}] * 2
    granted = await lab.database.read(lambda session: access.grants(session, "asset", shared))
    assert ("ben", "read") in {(each.principal, each.action) for each in granted}
    await settle(lab, id, revoke="ben", action="write")
    assert await readers(lab, [shared, *outputs]) == [{"ada"}] * (OUTPUTS + 1)


@pytest.mark.parametrize("turned", [False, True])
async def test_a_grant_of_its_own_beside_what_is_taken_back_stays(lab: Lab, turned: bool) -> None:
    id = await lab.committed()
    outputs = [await lab.output(id) for _ in range(OUTPUTS)]
    both = Lab(Overlapping(lab.database), lab.clock)
    sharing = SqlSharing(both.database)
    for asset in outputs[:3]:
        await settle(lab, id, grant="ben")
        await deliver(lab)

        async def taking() -> None:
            await settle(both, id, revoke="ben")

        async def sharing_it(asset: str = asset) -> None:
            await sharing.grant(asset, "@ben", "read", ADA, lab.clock())

        calls = (taking, sharing_it)
        assert isinstance(both.database, Overlapping)
        for ended in await both.database.pair(*(calls[::-1] if turned else calls)):
            assert not isinstance(ended, BaseException), ended
        assert await readers(lab, [asset]) == [{"ada", "ben"}]
        assert (await entries(lab))[asset][1] == {"ada", "ben"}
