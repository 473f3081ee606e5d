"""Two change one asset in transactions that overlap: whichever commits first, the other one sees
what it has done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.asset import domain
from asgard_server.asset.access_store import Move
from asgard_server.asset.domain import Asset, OutputOf
from asgard_server.asset.wishes import Wish, asked
from asgard_server.store.sql import access, asset_log, asset_rows, links
from asgard_server.store.sql.assets import SqlAssets
from asgard_server.store.sql.flags import SqlFlags
from asgard_server.store.sql.retracting import retract
from asgard_server.store.sql.session import Session
from asgard_server.store.sql.sharing import SqlSharing
from gimle.asgard.core.asset_errors import (
    AssetInvalidatedError,
    AssetLinkedError,
    AssetStateError,
    NotAwaitingReviewError,
)
from gimle.asgard.core.errors import NotFoundError

from tests.contract.asset_rows import ADA, CLEO, NOON, an_asset, an_experiment, people
from tests.contract.experiment_homes import Lab
from tests.contract.overlapping import Overlapping
from tests.contract.sql_homes import ENGINES, database

NOW = datetime(2026, 11, 29, 13, tzinfo=UTC)
# SQLite's writer takes the two as they come: more rounds, for either order.
ROUNDS = 6


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Overlapping]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(people)
        yield Overlapping(opened)


async def made(sessions: Overlapping, id: str, **row: Any) -> None:
    await sessions.write(lambda session: an_asset(session, id, **row))


async def loaded(sessions: Overlapping, id: str) -> Asset:
    return await sessions.look(lambda session: asset_rows.load(session, id))


async def readers(sessions: Overlapping, id: str) -> set[str]:
    return set(await sessions.look(lambda session: access.readers(session, "asset", id)))


async def links_of(sessions: Overlapping, id: str) -> int:
    return len(await sessions.look(lambda session: links.of_asset(session, id)))


async def link(session: Session, id: str, direction: Any, into: str) -> None:
    wish = links.Link(id, direction, into, linked_by="ada", linked_at=NOON)
    linked = await links.link(session, wish, ADA)
    await asset_log.log_all(session, [linked.change])


def of(ended: list[Any], kind: type[BaseException] | tuple[type[BaseException], ...]) -> list[Any]:
    """Those that were refused, all for a reason of this kind."""
    failed = [each for each in ended if isinstance(each, BaseException)]
    assert all(isinstance(each, kind) for each in failed), failed
    return failed


@pytest.mark.parametrize("turned", [False, True])
async def test_a_link_and_a_deletion(sessions: Overlapping, turned: bool) -> None:
    assets = SqlAssets(sessions)
    await sessions.write(lambda session: an_experiment(session, "e"))
    for turn in range(ROUNDS):
        id = f"a{turn}"
        await made(sessions, id)

        async def linking(id: str = id) -> None:
            await sessions.write(lambda session: link(session, id, "input", "e"))

        async def deleting(id: str = id) -> None:
            await assets.delete(id, ADA, NOW)

        calls = (linking, deleting)
        ended = await sessions.pair(*(calls[::-1] if turned else calls))
        assert len(of(ended, (NotFoundError, AssetLinkedError))) == 1
    left = "SELECT (SELECT count(*) FROM assets), (SELECT count(*) FROM asset_links)"
    there, linked = await sessions.look(lambda session: session.one(left)) or (0, 0)
    assert there == linked


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("ending", ["expired", "rejected"])
async def test_a_finalization_and_an_abandonment(
    sessions: Overlapping, turned: bool, ending: str
) -> None:
    assets = SqlAssets(sessions)
    late = NOW + timedelta(days=8)
    for turn in range(ROUNDS):
        id = f"a{turn}"
        await made(sessions, id, state="pending")

        async def finalizing(id: str = id) -> Asset:
            return await assets.change(
                *(id, ADA, "write", "asset.finalize"), lambda now: domain.completed(now, {}, NOW)
            )

        async def abandoning(id: str = id) -> Asset:
            def given_up(now: Asset) -> Asset:
                if ending == "expired":
                    return domain.expired(now, late)
                return domain.abandoned(now, "no", late)

            return await assets.change(id, ADA, "write", "asset.expire", given_up)

        calls = (finalizing, abandoning)
        ended = await sessions.pair(*(calls[::-1] if turned else calls))
        failed = of(ended, AssetStateError)
        states = {each.state for each in ended if isinstance(each, Asset)}
        # What was answered is what is there: nobody is told of a state that another one undid.
        assert states == {(await loaded(sessions, id)).state}, ended
        if ending == "rejected":
            assert len(failed) == 1, ended


@pytest.mark.parametrize("turned", [False, True])
async def test_a_grant_and_a_move(sessions: Overlapping, turned: bool) -> None:
    sharing = SqlSharing(sessions)
    for turn in range(ROUNDS):
        id = f"a{turn}"
        await made(sessions, id, by="cleo")

        async def granting(id: str = id) -> None:
            await sharing.grant(id, "@ben", "read", CLEO, NOW)

        async def moving(id: str = id) -> None:
            await sharing.move(id, Move("o/acme", "", "org_public"), CLEO, NOW)

        calls = (granting, moving)
        of(await sessions.pair(*(calls[::-1] if turned else calls)), ())
        who = {"ben", "cleo", "org_acme"}
        assert {each.principal for each in await sharing.grants(id, CLEO)} == who
        assert await readers(sessions, id) == who
        told = await sessions.look(lambda session: asset_log.behind(session, 0, 1_000))
        said = [each for _, each in told if each.id == id]
        assert [set(each.before) for each in said] == [{"cleo"}, set(said[0].after)]
        assert set(said[-1].after) == who


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("other", ["approved", "rejected"])
async def test_two_reviews(sessions: Overlapping, turned: bool, other: str) -> None:
    assets = SqlAssets(sessions)
    for turn in range(ROUNDS):
        id = f"a{turn}"

        async def awaiting(session: Session, id: str = id) -> None:
            await an_asset(session, id, state="pending")
            await session.run(
                "UPDATE assets SET pending_reasons = '[\"r\"]', size_bytes = 1 WHERE id = ?", id
            )

        await sessions.write(awaiting)

        async def approving(id: str = id) -> Asset:
            return await assets.change(
                *(id, ADA, "write", "asset.approve"), lambda now: domain.approved(now, {}, NOW)
            )

        async def reviewing(id: str = id) -> Asset:
            def judged(now: Asset) -> Asset:
                if other == "approved":
                    return domain.approved(now, {}, NOW + timedelta(seconds=1))
                return domain.rejected(now, "no", NOW)

            return await assets.change(id, ADA, "write", "asset.review", judged)

        calls = (approving, reviewing)
        ended = await sessions.pair(*(calls[::-1] if turned else calls))
        assert len(of(ended, NotAwaitingReviewError)) == 1, ended
        (done,) = (each for each in ended if isinstance(each, Asset))
        assert (await loaded(sessions, id)).state == done.state


@pytest.mark.parametrize("turned", [False, True])
async def test_an_input_and_a_retraction(sessions: Overlapping, turned: bool) -> None:
    """A link that comes behind the retraction is refused: only one that was first stays."""
    for turn in range(ROUNDS):
        out, source, later = f"out{turn}", f"e{turn}", f"later{turn}"

        async def fill(
            session: Session, out: str = out, source: str = source, later: str = later
        ) -> None:
            await an_experiment(session, source)
            await an_experiment(session, later)
            await an_asset(session, out)
            await link(session, out, "output", source)

        await sessions.write(fill)
        order: list[str] = []

        async def building(out: str = out, later: str = later, order: list[str] = order) -> None:
            async def work(session: Session) -> None:
                await link(session, out, "input", later)
                order.append("linked")

            await sessions.write(work)

        async def retracting(source: str = source, order: list[str] = order) -> None:
            async def work(session: Session) -> None:
                await access.hold(session, "experiment", source)
                done = await retract(session, source, None, "wrong", ADA, NOON)
                await asset_log.log_all(session, done.changes)
                order.append("retracted")

            await sessions.write(work)

        calls = (building, retracting)
        ended = await sessions.pair(*(calls[::-1] if turned else calls))
        refused = of(ended, AssetInvalidatedError)
        assert (await loaded(sessions, out)).invalidated is not None
        assert await links_of(sessions, out) == (1 if refused else 2)
        assert order == (["retracted"] if refused else ["linked", "retracted"])


@pytest.mark.parametrize("turned", [False, True])
async def test_an_output_and_a_retraction(sessions: Overlapping, turned: bool) -> None:
    """It was there and is taken back with the others, or is made by what was taken back."""
    lab, assets = Lab(sessions), SqlAssets(sessions)
    for _ in range(ROUNDS):
        experiment = await lab.committed()
        made: list[str] = []

        async def making(experiment: str = experiment, made: list[str] = made) -> None:
            wish = Wish(asset_type="x", content=b"{}", output_of=OutputOf(experiment, 0, 0))
            made.append((await assets.create(asked(wish, "ada", NOW), ADA)).id)

        async def retracting(experiment: str = experiment) -> None:
            await lab.retractor.experiment(experiment, "wrong", None, ADA)

        calls = (making, retracting)
        of(await sessions.pair(*(calls[::-1] if turned else calls)), ())
        assert await lab.state_of(made[0]) == ("ready", "wrong")


@pytest.mark.parametrize("turned", [False, True])
async def test_an_invalidation_and_a_retraction(sessions: Overlapping, turned: bool) -> None:
    """Who invalidates for a reason of their own is not overruled, whoever was first."""
    lab, flags = Lab(sessions), SqlFlags(sessions)
    for _ in range(ROUNDS):
        experiment = await lab.committed()
        made = await lab.output(experiment)

        async def invalidating(made: str = made) -> None:
            await flags.set(made, "invalidated", "mine", ADA, NOW)

        async def retracting(experiment: str = experiment) -> None:
            await lab.retractor.experiment(experiment, "wrong", None, ADA)

        calls = (invalidating, retracting)
        of(await sessions.pair(*(calls[::-1] if turned else calls)), ())
        assert await lab.state_of(made) == ("ready", "mine")
