"""Lists of experiments, and what they are built upon, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asgard_server.experiment import wishes
from asgard_server.experiment.domain import Parent
from asgard_server.experiment.link_store import Wish
from asgard_server.store.sql.session import Session
from gimle.asgard.core.errors import (
    InvalidFieldError,
    NotFoundError,
)
from gimle.asgard.core.experiment_errors import (
    ExperimentStateError,
)

from tests.contract.experiment_homes import ADA, BEN, STRANGER, Lab, a_lab
from tests.contract.sql_homes import ENGINES, Counting


@pytest.fixture(params=ENGINES)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(request.param, tmp_path) as opened:
        yield opened


async def test_a_page_begins_behind_the_one_before_and_is_of_what_was_asked_for(lab: Lab) -> None:
    made = []
    for _ in range(5):
        made.append(await lab.open())
        lab.clock.move(1)
    committed = await lab.committed()
    first = await lab.keeper.page(ADA, "open", "", None, 3)
    assert [each.experiment.id for each in first] == made[:-4:-1]
    last = first[-1].experiment
    rest = await lab.keeper.page(ADA, "open", "", (last.created_at, last.id), 10)
    assert [each.experiment.id for each in rest] == made[1::-1]
    assert [e.experiment.id for e in await lab.keeper.page(ADA, "committed", "", None, 9)] == [
        committed
    ]
    assert await lab.keeper.page(ADA, "retracted", "", None, 9) == []


async def test_experiments_are_listed_by_whose_they_are_and_of_nobody_there_is_none(
    lab: Lab,
) -> None:
    bens = await lab.open(by=BEN)
    theirs = await lab.open(by=BEN, organization="o/acme")

    async def listed(owner: str) -> list[str]:
        found = await lab.keeper.page(BEN, "", owner, None, 9)
        return [each.experiment.id for each in found]

    assert await listed("@ben") == await listed("ben") == [bens]
    assert await listed("o/acme") == await listed("org_acme") == [theirs]
    for none in ("@ada", "@nobody", "t/none", "everyone"):
        assert await listed(none) == []


async def test_a_page_tells_the_parents_of_all_its_experiments_in_as_many_statements_as_of_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = await lab.open(by=BEN)
    await lab.sharer.grant(hidden, "@ada", "read", BEN)
    first = await lab.open()
    made = [await lab.open(parents=(Parent(first), Parent(hidden))) for _ in range(5)]
    await lab.sharer.revoke(hidden, "@ada", "read", BEN)
    counting, read = Counting(), lab.database.read

    async def counted(work: Callable[[Session], Awaitable[Any]]) -> Any:
        def through(session: Session) -> Awaitable[Any]:
            counting.session = session
            return work(counting)

        return await read(through)

    monkeypatch.setattr(lab.database, "read", counted)
    one = await lab.keeper.page(ADA, "", "", None, 1)
    of_one, counting.statements = counting.statements, 0
    page = await lab.keeper.page(ADA, "", "", None, 10)
    assert counting.statements == of_one
    shown = {each.experiment.id: [parent.id for parent, _ in each.parents] for each in page}
    assert shown == {first: [], **{id: [first] for id in made}}
    assert one[0].experiment.id in made


async def test_a_child_is_made_or_its_parent_deleted_and_never_both(lab: Lab) -> None:
    for _ in range(8):
        parent = await lab.open()
        outcome = await asyncio.gather(
            lab.open(parents=(Parent(parent),)),
            lab.keeper.delete(parent, ADA),
            return_exceptions=True,
        )
        assert [isinstance(each, Exception) for each in outcome].count(True) == 1, outcome
        assert isinstance(
            next(each for each in outcome if isinstance(each, Exception)),
            (NotFoundError, ExperimentStateError),
        )


async def test_lineage_goes_both_ways_by_parents_and_by_assets(lab: Lab) -> None:
    root = await lab.committed()
    made = await lab.output(root)
    middle = await lab.open(parents=(Parent(root, True),))
    await lab.linker.vary(middle, wishes.NewVariation(inputs=(made,)), ADA)
    leaf = await lab.open(parents=(Parent(middle),))
    found = await lab.tracer.lineage(middle, "", 0, ADA)
    assert {one.id: distance for one, distance in found.nodes} == {root: -1, middle: 0, leaf: 1}
    told = {(each.parent_id, each.child_id, each.asset_id) for each in found.steps}
    assert {(root, middle, ""), (root, middle, made), (middle, leaf, "")} <= told
    near = await lab.tracer.lineage(leaf, "upstream", 1, ADA)
    assert ({one.id for one, _ in near.nodes}, near.is_cut) == ({leaf, middle}, True)
    for direction, depth in (("sideways", 0), ("", 21), ("", -1)):
        with pytest.raises(InvalidFieldError):
            await lab.tracer.lineage(leaf, direction, depth, ADA)


async def test_what_was_retracted_upstream_is_told_with_its_distance_to_who_may_read_it(
    lab: Lab,
) -> None:
    root = await lab.committed()
    made = await lab.output(root)
    middle = await lab.open(parents=(Parent(root),))
    leaf = await lab.open(parents=(Parent(middle),))
    await lab.linker.add(Wish(leaf, [made]), ADA)
    assert await lab.tracer.taken_back(leaf, 0, ADA) == ([], False)
    await lab.retractor.experiment(root, "wrong", None, ADA)
    found, _ = await lab.tracer.taken_back(leaf, 0, ADA)
    assert [(each.kind, each.id, each.reason, each.distance) for each in found] == [
        ("asset", made, "wrong", 1),
        ("experiment", root, "wrong", 1),
    ]
    await lab.sharer.grant(leaf, "sue", "read", ADA)
    assert await lab.tracer.taken_back(leaf, 0, STRANGER) == ([], False)
    preview = await lab.retractor.preview(root, None, ADA)
    assert {(each.experiment.id, each.asset_id) for each in preview.downstream} >= {
        (leaf, made),
        (middle, ""),
    }


async def test_an_experiment_is_not_built_upon_itself(lab: Lab) -> None:
    one = await lab.open()
    two = await lab.open(parents=(Parent(one),))
    three = await lab.open(parents=(Parent(two),))
    for last in (two, three):
        with pytest.raises(ExperimentStateError, match="built upon itself"):
            await lab.keeper.edit(one, {}, [Parent(last)], ADA, allow_retracted_parent=False)
    with pytest.raises(InvalidFieldError):
        await lab.keeper.edit(one, {}, [Parent(one)], ADA, allow_retracted_parent=False)


async def test_of_two_that_are_built_upon_each_other_at_once_one_is_refused(lab: Lab) -> None:
    for _ in range(8):
        one, two = await lab.open(), await lab.open()
        outcome = await asyncio.gather(
            *(
                lab.keeper.edit(id, {}, [Parent(other)], ADA, allow_retracted_parent=False)
                for id, other in ((one, two), (two, one))
            ),
            return_exceptions=True,
        )
        refused = [each for each in outcome if isinstance(each, BaseException)]
        assert [type(each) for each in refused] == [ExperimentStateError], refused
