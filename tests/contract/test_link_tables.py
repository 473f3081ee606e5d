"""Links of assets, and what comes with them, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgard_server.access.domain import OWN
from asgard_server.store.sql import access, links
from asgard_server.store.sql.links import Link
from asgard_server.store.sql.retracting import retract
from asgard_server.store.sql.session import Database, Session
from gimle.asgard.core.asset_errors import AssetInvalidatedError, AssetStateError
from gimle.asgard.core.errors import NotFoundError

from tests.contract.asset_rows import ADA, BEN, NOON, an_asset, an_experiment
from tests.contract.sql_homes import ENGINES, database


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        yield opened


def a_link(asset_id: str = "a", direction: links.Direction = "input", **more: Any) -> Link:
    return Link(asset_id, direction, "e", linked_by="ada", linked_at=NOON, **more)


async def test_an_output_has_what_its_experiment_grants(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a")
        await an_experiment(session, "e", readers=["org_acme"])
        await access.grant(session, "experiment", "e", "ben", "delete", OWN, "ada", NOON)
        linked = await links.link(session, a_link(direction="output", variation=1, run=0), ADA)
        assert linked.added
        assert linked.change.before == ("ada",)
        assert linked.change.after == ("ada", "ben", "org_acme")
        assert await access.actions(session, "asset", "a", BEN) == {"read", "delete"}
        assert await links.of_asset(session, "a") == [linked.link]
        assert await links.unlink(session, "a", "output", "e", None, NOON) is None
        gone = await links.unlink(session, "a", "output", "e", 1, NOON)
        assert gone is not None
        assert (gone.before, gone.after) == (linked.change.after, ("ada",))

    await sessions.write(work)


async def test_an_experiments_readers_read_its_input_where_they_are_propagated(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        for each in "abc":
            await an_asset(session, each)
        await an_experiment(session, "e", readers=["org_acme"])
        await access.grant(session, "experiment", "e", "ben", "write", OWN, "ada", NOON)
        linked = await links.link(session, a_link("a", propagate_acl=True), ADA)
        assert linked.change.after == ("ada", "ben", "org_acme")
        assert await access.actions(session, "asset", "a", BEN) == {"read"}
        for quiet in (a_link("b"), a_link("c", variation=1, propagate_acl=True)):
            linked = await links.link(session, quiet, ADA)
            assert linked.change.after == ("ada",)
            assert not linked.link.propagate_acl

    await sessions.write(work)


async def test_propagating_needs_to_administer_and_linking_to_read(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a", readers=["ben"])
        await an_asset(session, "b")
        await an_experiment(session, "e", by="ben")
        with pytest.raises(NotFoundError):
            await links.link(session, a_link("b"), BEN)
        with pytest.raises(NotFoundError):
            await links.link(session, a_link("a", propagate_acl=True), BEN)
        assert (await links.link(session, a_link("a"), BEN)).added
        again = await links.link(session, a_link("a"), BEN)
        assert not again.added

    await sessions.write(work)


async def test_an_invalidated_asset_is_linked_only_where_that_is_said_and_noted(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a")
        await an_asset(session, "b")
        await an_experiment(session, "e")
        await session.run(
            "UPDATE assets SET invalidated_at = 1, invalidated_reason = 'wrong' WHERE id = 'a'"
        )
        await session.run(
            "UPDATE assets SET deprecated_at = 1, deprecated_reason = 'old' WHERE id = 'b'"
        )
        with pytest.raises(AssetInvalidatedError, match="wrong"):
            await links.link(session, a_link("a"), ADA)
        linked = await links.link(session, a_link("a", allow_invalid=True), ADA)
        assert linked.link.allow_invalid
        assert linked.warnings == ("the asset a is invalidated: wrong",)
        linked = await links.link(session, a_link("b", allow_invalid=True), ADA)
        assert not linked.link.allow_invalid
        assert linked.warnings == ("the asset b is deprecated: old",)

    await sessions.write(work)


async def test_only_what_is_ready_is_an_input_and_nothing_abandoned_an_output(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        await an_experiment(session, "e")
        await an_asset(session, "p", state="pending")
        await an_asset(session, "x", state="abandoned")
        for wish in (a_link("p"), a_link("x"), a_link("x", "output")):
            with pytest.raises(AssetStateError):
                await links.link(session, wish, ADA)
        assert (await links.link(session, a_link("p", "output"), ADA)).added

    await sessions.write(work)


async def test_links_are_counted_by_kind_and_an_abandoned_output_is_free(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a")
        await an_experiment(session, "e")
        assert set((await links.counts(session, "a")).values()) == {0}
        for wish in (
            a_link(),
            a_link(variation=1),
            a_link(variation=2),
            a_link(direction="output", variation=1),
        ):
            await links.link(session, wish, ADA)
        counted = {
            "experiment_input_assets": 1,
            "variation_input_assets": 2,
            "experiment_output_assets": 1,
        }
        assert await links.counts(session, "a") == counted
        await session.run("UPDATE assets SET state = 'abandoned'")
        assert await links.counts(session, "a") == {**counted, "experiment_output_assets": 0}
        everything = await links.of_experiment(session, "e", "input", all_variations=True)
        assert [each.variation for each in everything] == [None, 1, 2]
        assert [each.variation for each in await links.of_experiment(session, "e", "input", 2)] == [
            2
        ]
        await links.forget(session, "a")
        assert await links.of_asset(session, "a") == []

    await sessions.write(work)


async def test_a_retraction_invalidates_outputs_and_leaves_what_others_have_said(
    sessions: Database,
) -> None:
    async def invalidated(session: Session) -> dict[str, tuple[str, str]]:
        rows = await session.all(
            "SELECT id, invalidated_reason, invalidated_with FROM assets"
            " WHERE invalidated_at IS NOT NULL ORDER BY id"
        )
        return {row[0]: row[1:] for row in rows}

    async def work(session: Session) -> None:
        await an_experiment(session, "e")
        for each in "abcd":
            await an_asset(session, each)
        for each, number in (("a", 1), ("b", 1), ("c", 2)):
            await links.link(session, a_link(each, "output", variation=number), ADA)
        await links.link(session, a_link("d"), ADA)
        await session.run(
            "UPDATE assets SET invalidated_at = 1, invalidated_reason = 'mine' WHERE id = 'b'"
        )
        done = await retract(session, "e", 1, "wrong seed", ADA, NOON)
        assert done.outputs == 1
        assert [(each.id, each.before, each.after) for each in done.changes] == [
            ("a", ["ada"], ["ada"])
        ]
        assert await invalidated(session) == {
            "a": ("wrong seed", "variation:e/1"),
            "b": ("mine", None),
        }
        done = await retract(session, "e", None, "wrong at all", ADA, NOON)
        assert [each.id for each in done.changes] == ["c"]
        done = await retract(session, "e", None, "wrong indeed", ADA, NOON)
        assert (done.outputs, [each.id for each in done.changes]) == (1, ["c"])
        assert (await invalidated(session))["c"] == ("wrong indeed", "experiment:e")
        assert (await retract(session, "e", None, "wrong indeed", ADA, NOON)).changes == []
        assert await session.value("SELECT count(*) FROM asset_flags WHERE asset_id = 'c'") == 2
        assert await session.value("SELECT count(*) FROM audit WHERE object_id = 'c'") == 2

    await sessions.write(work)
