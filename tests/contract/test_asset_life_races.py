"""Two do something with one asset at the same moment: one wins, and nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.asset.domain import Asset
from asgard_server.asset.finishing import Finisher
from asgard_server.store.rpc_blobs import RpcBlobs
from gimle.asgard.core.asset_errors import AssetStateError, NotAwaitingReviewError
from gimle.asgard.core.errors import AsgardError, NotFoundError, StorageUnavailableError

from tests.contract.asset_homes import ADA, ENGINES, AssetHome, asset_home, nobody_is_told

ROUNDS = 12


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


async def both(*work: Awaitable[Any]) -> list[Any]:
    """What each of them answers, or raises."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException) and not isinstance(each, AsgardError):
            raise each
    return done


async def test_of_finalize_and_reject_one_wins(home: AssetHome) -> None:
    won = set()
    for _ in range(ROUNDS):
        made = await home.create(pending_reasons=("r",), components=("a",))
        await home.send(made)
        approved, rejected = await both(
            home.finisher.approve(ADA, made.asset.id),
            home.finisher.reject(ADA, made.asset.id, "no"),
        )
        now = (await home.keeper.show(ADA, made.asset.id)).asset
        lost = approved if now.state == "abandoned" else rejected
        assert isinstance(lost, NotAwaitingReviewError), (approved, rejected)
        won.add(now.state)
        if now.state == "abandoned":
            assert now.size_bytes is None or now.is_whole
    assert won <= {"ready", "abandoned"}
    await nothing_is_left(home)


async def test_of_finalize_and_expiry_one_wins(home: AssetHome) -> None:
    made = [await home.create(components=("a",)) for _ in range(ROUNDS)]
    for each in made:
        await home.send(each)
    home.store.clock.ahead += timedelta(days=7, seconds=1)
    finalizing = [home.finisher.finalize(ADA, each.asset.id) for each in made]
    *answers, _ = await both(*finalizing, home.sweeper.sweep())
    for each, answer in zip(made, answers, strict=True):
        now = (await home.keeper.show(ADA, each.asset.id)).asset
        if isinstance(answer, Exception):
            assert isinstance(answer, AssetStateError)
            assert now.state == "abandoned"
        else:
            assert now.state == "ready"
    await nothing_is_left(home)


class Meanwhile:
    """BlobService, where something else happens behind each claim."""

    def __init__(self, blobs: RpcBlobs, happens: Callable[[], Awaitable[object]]) -> None:
        self._blobs = blobs
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def claim(self, asset: Asset) -> None:
        await self._blobs.claim(asset)
        await self._happens()


@pytest.mark.parametrize("ending", ["expires", "is rejected"])
async def test_what_is_abandoned_while_its_components_are_claimed_stays_abandoned(
    home: AssetHome, ending: str
) -> None:
    made = await home.create(components=("a",), pending_reasons=("r",))
    await home.send(made)

    async def happens() -> None:
        if ending == "expires":
            home.store.clock.ahead += timedelta(days=7, seconds=1)
            await home.sweeper.sweep()
        else:
            await home.finisher.reject(ADA, made.asset.id, "no")

    blobs: Any = Meanwhile(home.blobs, happens)
    late = Finisher(home.assets, blobs, home.store.clock, nobody_is_told)
    with pytest.raises(AssetStateError):
        await late.finalize(ADA, made.asset.id)
    assert (await home.keeper.show(ADA, made.asset.id)).asset.state == "abandoned"
    await nothing_is_left(home)


async def test_of_two_approvals_one_counts(home: AssetHome) -> None:
    for _ in range(ROUNDS):
        made = await home.create(content=b"1", pending_reasons=("r",))
        answers = await both(*(home.finisher.approve(ADA, made.asset.id) for _ in range(3)))
        refused = [each for each in answers if isinstance(each, NotAwaitingReviewError)]
        assert len(refused) == 2, answers
    approvals = await home.count("audit", "WHERE action = 'asset.approve'")
    assert approvals == ROUNDS


async def test_of_two_finalizations_both_answer_the_same(home: AssetHome) -> None:
    for _ in range(ROUNDS):
        made = await home.create(components=("a", "b"), name="net")
        await home.send(made)
        answers = await both(*(home.finisher.finalize(ADA, made.asset.id) for _ in range(3)))
        assert len({repr(each) for each in answers}) == 1, answers
        assert answers[0].state == "ready"
    assert await home.count("audit", "WHERE action = 'asset.finalize'") == ROUNDS
    await nothing_is_left(home)


async def test_of_delete_and_finalize_nothing_is_left_over(home: AssetHome) -> None:
    for round_ in range(ROUNDS):
        made = await home.create(components=("a", "b"))
        await home.send(made)

        async def delete(asset_id: str, late: int) -> Any:
            for _ in range(late):
                await asyncio.sleep(0.002)
            removed = await home.keeper.delete(ADA, asset_id)
            await home.delivery.deliver()  # its bytes go at once
            return removed

        finalized, deleted = await both(
            home.finisher.finalize(ADA, made.asset.id), delete(made.asset.id, round_)
        )
        assert not isinstance(deleted, Exception)
        if isinstance(finalized, StorageUnavailableError):
            # A folder of bytes that was removed while they were copied there: asked once more.
            finalized = (await both(home.finisher.finalize(ADA, made.asset.id)))[0]
        assert not isinstance(finalized, Exception) or isinstance(finalized, NotFoundError)
    assert await home.count("assets") == 0
    await home.settle()
    assert await home.store.keys() == []
    assert await home.count("blob_owners") == 0
    assert await home.count("outbox") == 0


async def test_of_delete_and_reading_inline_content_nothing_is_left_over(home: AssetHome) -> None:
    for round_ in range(ROUNDS):
        made = await home.create(content=b"{}")

        async def delete(asset_id: str, late: int) -> Any:
            for _ in range(late):
                await asyncio.sleep(0.001)
            removed = await home.keeper.delete(ADA, asset_id)
            await home.delivery.deliver()  # its bytes go at once
            return removed

        _, deleted = await both(
            home.keeper.show(ADA, made.asset.id, presigned=True), delete(made.asset.id, round_)
        )
        assert not isinstance(deleted, Exception)
    await home.settle()
    assert await home.store.keys() == []
    assert await home.count("outbox") == 0


async def test_versions_made_at_once_have_different_numbers(home: AssetHome) -> None:
    made = await asyncio.gather(*(home.create(content=b"1", name="net") for _ in range(16)))
    assert sorted(each.asset.version or 0 for each in made) == list(range(1, 17))
    newest = max(made, key=lambda each: each.asset.version or 0)
    assert await home.keeper.named(ADA, "net") == newest.asset.id


@pytest.mark.parametrize("ending", ["delete", "unpoint"])
async def test_an_alias_that_moves_on_stays_where_it_went(home: AssetHome, ending: str) -> None:
    for _ in range(ROUNDS):
        old, new = [(await home.create(content=b"1", name="net")).asset for _ in range(2)]
        await home.lists.point(ADA, old.id, "best")
        end: Awaitable[Any] = (
            home.keeper.delete(ADA, old.id)
            if ending == "delete"
            else home.lists.unpoint(ADA, old.id, "best")
        )
        moved, ended = await both(home.lists.point(ADA, new.id, "best"), end)
        assert not isinstance(ended, Exception)
        # Who came first makes no difference: the alias points where it was moved to.
        assert not isinstance(moved, Exception)
        assert await home.keeper.named(ADA, "net@best") == new.id


async def nothing_is_left(home: AssetHome) -> None:
    """After a sweep there are the blobs of ready assets, and no others."""
    await home.settle()

    async def kept(session: Any) -> set[str]:
        rows = await session.all(
            "SELECT c.blob_id FROM asset_components AS c JOIN assets AS a ON a.id = c.asset_id"
            " WHERE a.state = 'ready'"
        )
        return {row[0] for row in rows}

    assert {key.split("/")[1] for key in await home.store.keys()} == await home.database.look(kept)
