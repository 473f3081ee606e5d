"""The life of experiments and variations, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.auth.principal import Principal, RunScope
from asgard_server.experiment import wishes
from asgard_server.experiment.domain import Parent
from asgard_server.experiment.link_store import Which, Wish
from gimle.asgard.core.access_errors import (
    ForbiddenError,
    LastAdministratorError,
    NotAMemberError,
)
from gimle.asgard.core.asset_errors import AssetInvalidatedError, AssetStateError
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DeletedError,
    InvalidFieldError,
    NotFoundError,
)
from gimle.asgard.core.experiment_errors import (
    AlreadyConcludedError,
    ExperimentRetractedError,
    ExperimentStateError,
)

from tests.contract.experiment_homes import ADA, BEN, STRANGER, Lab, a_lab
from tests.contract.sql_homes import ENGINES


@pytest.fixture(params=ENGINES)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(request.param, tmp_path) as opened:
        yield opened


async def test_an_experiment_is_committed_with_a_hypothesis_report_and_then_concluded(
    lab: Lab,
) -> None:
    id = await lab.open()
    await lab.linker.vary(id, wishes.NewVariation(), ADA)
    with pytest.raises(ExperimentStateError, match="without a hypothesis_report that is ready"):
        await lab.keeper.commit(id, {}, ADA)
    await lab.linker.add(Wish(id, [await lab.asset("hypothesis_report")]), ADA)
    seen, variations = await lab.keeper.commit(id, {}, ADA)
    assert seen.experiment.state == "committed"
    first = variations[0]
    assert (first.variation.state, first.variation.runs) == ("committed", 1)
    assert first.latest is not None
    assert first.latest.status == "pending"
    again, _ = await lab.keeper.commit(id, {}, ADA)
    assert again.experiment == seen.experiment

    with pytest.raises(ExperimentStateError, match="without a takeaways_report that is ready"):
        await lab.keeper.conclude(id, "", ADA)
    report = await lab.output(id, None, None, asset_type="takeaways_report")
    done = await lab.keeper.conclude(id, "", ADA)
    assert (done.experiment.state, done.experiment.takeaways_id) == ("concluded", report)


async def test_an_experiment_that_is_concluded_says_what_to_do_about_that(lab: Lab) -> None:
    id = await lab.committed()
    first = await lab.output(id, None, None, asset_type="takeaways_report")
    await lab.keeper.conclude(id, "", ADA)
    with pytest.raises(AlreadyConcludedError) as caught:
        await lab.keeper.conclude(id, "", ADA)
    assert caught.value.asset_id == first
    lab.clock.move(60)
    second = await lab.output(id, None, None, asset_type="takeaways_report")
    kept = await lab.keeper.conclude(id, "keep", ADA)
    assert kept.experiment.takeaways_id == first
    anew = await lab.keeper.conclude(id, "regenerate", ADA)
    assert anew.experiment.takeaways_id == second
    with pytest.raises(InvalidFieldError, match="on_exist_action"):
        await lab.keeper.conclude(id, "drop", ADA)


async def test_each_tentative_parent_is_promoted_or_dropped_by_committing(lab: Lab) -> None:
    kept, dropped, decided = [await lab.open() for _ in range(3)]
    id = await lab.open(
        parents=(Parent(kept, True), Parent(dropped, True), Parent(decided)),
    )
    await lab.linker.add(Wish(id, [await lab.asset("hypothesis_report")]), ADA)
    with pytest.raises(ExperimentStateError, match=f"not decided: {min(kept, dropped)}"):
        await lab.keeper.commit(id, {}, ADA)
    with pytest.raises(InvalidFieldError, match="is no tentative parent"):
        await lab.keeper.commit(id, {decided: "drop"}, ADA)
    with pytest.raises(InvalidFieldError, match="give promote or drop"):
        await lab.keeper.commit(id, {kept: "keep", dropped: "drop"}, ADA)
    seen, _ = await lab.keeper.commit(id, {kept: "promote", dropped: "drop"}, ADA)
    assert [parent for parent, _ in seen.parents] == sorted(
        [Parent(kept), Parent(decided)], key=lambda parent: parent.id
    )


async def test_only_an_open_experiment_without_descendants_is_deleted_and_its_assets_stay(
    lab: Lab,
) -> None:
    parent = await lab.open()
    child = await lab.open(parents=(Parent(parent),))
    given = await lab.asset()
    await lab.linker.add(Wish(child, [given], propagate_acl=True), ADA)
    await lab.sharer.grant(child, "everyone", "read", ADA)
    assert await lab.readers(given) == ("ada", "everyone")
    with pytest.raises(ExperimentStateError, match="a parent of 1 others"):
        await lab.keeper.delete(parent, ADA)
    assert await lab.keeper.delete(child, ADA) == 1
    assert await lab.readers(given) == ("ada",)
    with pytest.raises(NotFoundError):
        await lab.keeper.delete(child, ADA)
    with pytest.raises(DeletedError):
        await lab.open(child)
    assert await lab.keeper.delete(parent, ADA) == 0
    with pytest.raises(ExperimentStateError, match="retract it instead"):
        await lab.keeper.delete(await lab.committed(), ADA)


async def test_inputs_are_fixed_by_committing_but_for_citations_until_concluding(
    lab: Lab,
) -> None:
    id = await lab.committed()
    late, cited = await lab.asset(), await lab.asset("publication")
    with pytest.raises(ExperimentStateError, match="its inputs are fixed"):
        await lab.linker.add(Wish(id, [late]), ADA)
    with pytest.raises(ExperimentStateError, match="its inputs are fixed"):
        await lab.linker.add(Wish(id, [cited], 0), ADA)
    report = (await lab.linker.assets(id, Which("input", itself=True), ADA, 10))[0]
    with pytest.raises(ExperimentStateError, match="its inputs are fixed"):
        await lab.linker.remove(id, None, report.id, ADA)
    assert [each.id for each in (await lab.linker.add(Wish(id, [cited]), ADA)).assets] == [cited]
    assert await lab.linker.remove(id, None, cited, ADA)
    await lab.output(id, None, None, asset_type="takeaways_report")
    await lab.keeper.conclude(id, "", ADA)
    with pytest.raises(ExperimentStateError, match="nothing can be added"):
        await lab.linker.add(Wish(id, [cited]), ADA)


async def test_an_invalidated_input_is_refused_unless_that_is_allowed_and_then_recorded(
    lab: Lab,
) -> None:
    source = await lab.committed()
    wrong = await lab.output(source)
    await lab.retractor.experiment(source, "wrong data", None, ADA)
    id = await lab.open()
    with pytest.raises(AssetInvalidatedError, match="wrong data"):
        await lab.linker.add(Wish(id, [wrong]), ADA)
    with pytest.raises(AssetInvalidatedError):
        await lab.linker.vary(id, wishes.NewVariation(inputs=(wrong,)), ADA)
    assert (await lab.keeper.detail(id, ADA)).variations == []
    made = await lab.linker.add(Wish(id, [wrong], allow_invalid=True), ADA)
    assert [each.allow_invalid for each in made.assets] == [True]
    assert [(each.kind, each.reason) for each in made.warnings] == [("invalidated", "wrong data")]
    assert made.assets[0].invalidated is not None
    assert made.assets[0].invalidated.retraction == f"experiment:{source}"


async def test_nothing_is_linked_when_one_of_many_cannot_be(lab: Lab) -> None:
    id, good = await lab.open(), await lab.asset()
    pending = await lab.asset(state="pending")
    with pytest.raises(AssetStateError):
        await lab.linker.add(Wish(id, [good, pending]), ADA)
    with pytest.raises(NotFoundError):
        await lab.linker.add(Wish(id, [good, await lab.asset(by="sue")]), ADA)
    assert await lab.linker.assets(id, Which("input"), ADA, 10) == []


async def test_retracting_needs_a_reason_and_delete_and_invalidates_all_outputs_at_once(
    lab: Lab,
) -> None:
    id = await lab.committed(2)
    outputs = [await lab.output(id, 0), await lab.output(id, 1), await lab.output(id, None, None)]
    with pytest.raises(InvalidFieldError, match="reason"):
        await lab.retractor.experiment(id, "  ", None, ADA)
    await lab.sharer.grant(id, "sue", "write", ADA)
    with pytest.raises(ForbiddenError):
        await lab.retractor.experiment(id, "wrong", None, STRANGER)
    preview = await lab.retractor.preview(id, None, ADA)
    assert (preview.count, {each.id for each in preview.outputs}) == (3, set(outputs))
    seen, count = await lab.retractor.experiment(id, "wrong", None, ADA)
    assert count == 3
    assert seen.experiment.retraction is not None
    first_at = seen.experiment.retraction.at
    assert {await lab.state_of(each) for each in outputs} == {("ready", "wrong")}
    lab.clock.move(60)
    seen, count = await lab.retractor.experiment(id, "very wrong", None, ADA)
    assert count == 3
    assert seen.experiment.retraction is not None
    assert (seen.experiment.retraction.reason, seen.experiment.retraction.at) == (
        "very wrong",
        first_at,
    )
    assert {await lab.state_of(each) for each in outputs} == {("ready", "very wrong")}
    assert seen.experiment.state == "committed"
    with pytest.raises(ExperimentStateError, match="delete it instead"):
        await lab.retractor.experiment(await lab.open(), "wrong", None, ADA)


async def test_retracting_a_variation_leaves_the_others_as_they_are(lab: Lab) -> None:
    id = await lab.committed(2)
    hit, spared = await lab.output(id, 0), await lab.output(id, 1)
    seen, count = await lab.retractor.variation(id, 0, "wrong", ADA)
    assert (count, seen.variation.retraction is not None) == (1, True)
    assert await lab.state_of(hit) == ("ready", "wrong")
    assert await lab.state_of(spared) == ("ready", None)


async def test_a_retracted_parent_is_refused_unless_that_is_allowed(lab: Lab) -> None:
    parent = await lab.committed()
    await lab.retractor.experiment(parent, "wrong", None, ADA)
    with pytest.raises(ExperimentRetractedError):
        await lab.open(parents=(Parent(parent),))
    await lab.open(parents=(Parent(parent),), allow_retracted_parent=True)
    with pytest.raises(NotFoundError):
        await lab.open(parents=(Parent(parent),), by=STRANGER)


async def test_a_repeat_of_a_create_answers_what_there_is_and_another_request_is_refused(
    lab: Lab,
) -> None:
    id = await lab.open("mine")
    assert await lab.open("mine") == id
    with pytest.raises(AlreadyExistsError):
        await lab.open("mine", by=BEN)
    with pytest.raises(AlreadyExistsError):
        await lab.open("mine", visibility="public")
    wish = wishes.NewVariation("a", number=0)
    first, _ = await lab.linker.vary(id, wish, ADA)
    again, _ = await lab.linker.vary(id, wish, ADA)
    assert again.variation == first.variation
    with pytest.raises(AlreadyExistsError):
        await lab.linker.vary(id, wishes.NewVariation("b", number=0), ADA)
    with pytest.raises(InvalidFieldError, match="the next one is 1"):
        await lab.linker.vary(id, wishes.NewVariation("b", number=5), ADA)


async def test_who_may_not_read_an_experiment_is_told_that_there_is_none(lab: Lab) -> None:
    id = await lab.committed()
    for ask in (
        lab.keeper.detail(id, STRANGER),
        lab.keeper.commit(id, {}, STRANGER),
        lab.keeper.delete(id, STRANGER),
        lab.retractor.preview(id, None, STRANGER),
        lab.tracer.lineage(id, "", 0, STRANGER),
        lab.linker.assets(id, Which("output"), STRANGER, 10),
        lab.sharer.grants(id, STRANGER),
    ):
        with pytest.raises(NotFoundError, match=f"there is no experiment {id}"):
            await ask
    assert await lab.keeper.page(STRANGER, "", "", None, 10) == []
    await lab.sharer.grant(id, "sue", "read", ADA)
    assert (await lab.keeper.detail(id, STRANGER)).seen.actions == {"read"}
    with pytest.raises(ForbiddenError):
        await lab.keeper.commit(id, {}, STRANGER)
    with pytest.raises(NotFoundError):
        await lab.sharer.grant(id, "everyone", "read", STRANGER)


async def test_who_administers_an_experiment_administers_its_outputs_until_revoked(
    lab: Lab,
) -> None:
    id = await lab.committed()
    made = await lab.output(id)
    _, added = await lab.sharer.grant(id, "everyone", "read", ADA)
    assert added
    _, added = await lab.sharer.grant(id, "everyone", "read", ADA)
    assert not added
    assert await lab.readers(made) == ("ada", "everyone")
    assert await lab.sharer.revoke(id, "everyone", "read", ADA)
    assert not await lab.sharer.revoke(id, "everyone", "read", ADA)
    assert await lab.readers(made) == ("ada",)
    with pytest.raises(LastAdministratorError):
        await lab.sharer.revoke(id, "ada", "administer", ADA)
    with pytest.raises(NotFoundError, match="principal"):
        await lab.sharer.grant(id, "@nobody", "read", ADA)


async def test_an_input_that_propagates_access_is_read_by_the_readers_of_both_its_experiments(
    lab: Lab,
) -> None:
    one, two = await lab.open(), await lab.open()
    given, kept = await lab.asset(), await lab.asset()
    for id in (one, two):
        await lab.linker.add(Wish(id, [given], propagate_acl=True), ADA)
        await lab.linker.add(Wish(id, [kept]), ADA)
        await lab.sharer.grant(id, "sue", "write", ADA)
    assert await lab.readers(given) == ("ada", "sue")
    await lab.sharer.revoke(one, "sue", "write", ADA)
    assert await lab.readers(given) == ("ada", "sue")
    await lab.sharer.revoke(two, "sue", "write", ADA)
    assert await lab.readers(given) == ("ada",)
    assert await lab.readers(kept) == ("ada",)


async def test_an_experiment_moves_from_a_person_to_an_organization_and_no_further(
    lab: Lab,
) -> None:
    id = await lab.committed(by=BEN)
    made = await lab.output(id, by=BEN)
    with pytest.raises(NotAMemberError):
        await lab.sharer.move(id, "o/other", "", "", BEN)
    moved = await lab.sharer.move(id, "o/acme", "", "", BEN)
    assert (moved.experiment.organization_id, moved.experiment.visibility) == (
        "org_acme",
        "org_public",
    )
    assert moved.experiment.created_by == "ben"
    assert await lab.readers(made) == ("ben", "org_acme")
    assert any('"organization_id":"org_acme"' in body for _, body in await lab.words())
    with pytest.raises(ExperimentStateError, match="owned by the organization org_acme"):
        await lab.sharer.move(id, "o/acme", "", "private", BEN)
    shown = await lab.sharer.set_visibility(id, "private", BEN)
    assert shown.experiment.visibility == "private"
    assert await lab.readers(made) == ("ben",)


async def test_a_worker_s_key_works_on_its_run_and_does_nothing_else(lab: Lab) -> None:
    id = await lab.committed()
    worker = Principal("ada", kind="worker", run=RunScope(id, 0, 0))
    for ask in (
        lab.keeper.delete(id, worker),
        lab.sharer.grant(id, "everyone", "read", worker),
        lab.retractor.experiment(id, "x", None, worker),
        lab.linker.vary(id, wishes.NewVariation(), worker),
        lab.floor.resume(id, 0, worker),
        lab.open(by=worker),
    ):
        with pytest.raises(ForbiddenError, match="worker's key"):
            await ask
    await lab.keeper.find(id, "working", "it does", 0, None, worker)


async def test_everything_that_is_done_is_in_the_audit(lab: Lab) -> None:
    id = await lab.committed()
    await lab.output(id)
    await lab.keeper.find(id, "partial", "somewhat", 0, None, ADA)
    await lab.retractor.experiment(id, "wrong", None, ADA)
    assert await lab.audited() == [
        *("experiment.create", "experiment.link", "experiment.vary", "experiment.commit"),
        *("experiment.find", "asset.invalidate", "experiment.retract"),
    ]


async def test_of_two_who_commit_at_once_both_see_one_run_of_each_variation(lab: Lab) -> None:
    id = await lab.open()
    await lab.linker.add(Wish(id, [await lab.asset("hypothesis_report")]), ADA)
    await lab.linker.vary(id, wishes.NewVariation(), ADA)
    one, two = await asyncio.gather(lab.keeper.commit(id, {}, ADA), lab.keeper.commit(id, {}, ADA))
    assert one[1] == two[1]
    assert [kind for kind, _ in await lab.words()] == ["run.document"]


async def test_two_variations_at_once_get_two_numbers(lab: Lab) -> None:
    id = await lab.open()
    made = await asyncio.gather(
        *(lab.linker.vary(id, wishes.NewVariation(), ADA) for _ in range(6))
    )
    assert sorted(seen.variation.number for seen, _ in made) == list(range(6))


async def test_an_output_that_is_linked_beside_a_retraction_is_invalid_or_was_first(
    lab: Lab,
) -> None:
    id = await lab.committed()
    outcome = await asyncio.gather(
        *(lab.output(id) for _ in range(4)), lab.retractor.experiment(id, "wrong", None, ADA)
    )
    _, count = outcome[-1]
    states = [await lab.state_of(str(each)) for each in outcome[:-1]]
    assert states.count(("ready", "wrong")) == count


async def test_after_committing_title_and_description_can_still_be_changed(lab: Lab) -> None:
    id = await lab.committed()
    seen = await lab.keeper.edit(id, {"title": "Better"}, None, ADA, allow_retracted_parent=False)
    assert seen.experiment.title == "Better"
    with pytest.raises(ExperimentStateError, match="only title and description"):
        await lab.keeper.edit(
            id, {"hypothesis_summary": "other"}, None, ADA, allow_retracted_parent=False
        )
