"""Versions, aliases, lists and metadata of assets, the same on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.asset.store import Filter
from asgard_server.store.sql.session import Session
from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.asset_errors import (
    AssetStateError,
)
from gimle.asgard.core.errors import (
    NotFoundError,
)

from tests.contract.asset_homes import ADA, BOB, ENGINES, EVE, AssetHome, asset_home


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


async def test_latest_is_the_newest_version_that_is_ready(home: AssetHome) -> None:
    first = await home.ready(name="net")
    second = await home.create(name="net")
    assert (first.version, first.aliases, second.asset.version) == (1, ("latest",), 2)
    assert await home.keeper.named(ADA, "net") == first.id
    third = await home.ready(name="net")
    assert await home.keeper.named(ADA, "net@latest") == third.id
    await home.send(second)
    late = await home.finisher.finalize(ADA, second.asset.id)
    assert late.aliases == ()
    assert await home.keeper.named(ADA, "net@2") == late.id
    await home.keeper.delete(ADA, third.id)
    assert await home.keeper.named(ADA, "net") == late.id
    moves = [(each.alias, each.asset_id) for each in await home.lists.moves(ADA, late.id)]
    assert moves == [("latest", late.id), ("latest", first.id)]  # the deleted one is seen no more
    assert (await home.create(name="net", content=b"1")).asset.version == 4


async def test_aliases_move_and_keep_their_history(home: AssetHome) -> None:
    first, second = await home.ready(name="net"), await home.ready(name="net")
    await home.lists.point(ADA, first.id, "best")
    moved = await home.lists.point(ADA, second.id, "best")
    assert moved.aliases == ("best", "latest")
    assert await home.keeper.named(ADA, "net@best") == second.id
    assert await home.lists.unpoint(ADA, first.id, "best") is False
    assert await home.lists.unpoint(ADA, second.id, "best") is True
    with pytest.raises(NotFoundError):
        await home.keeper.named(ADA, "net@best")
    moves = [(each.alias, each.asset_id) for each in await home.lists.moves(ADA, first.id)]
    assert moves[:3] == [("best", None), ("best", second.id), ("best", first.id)]
    pending = await home.create(name="net")
    with pytest.raises(AssetStateError):
        await home.lists.point(ADA, pending.asset.id, "best")
    assert [each.version for each in await home.lists.versions(ADA, first.id, None, 9)] == [3, 2, 1]
    assert [each.version for each in await home.lists.versions(ADA, first.id, 3, 1)] == [2]
    with pytest.raises(NotFoundError):
        await home.lists.versions(EVE, first.id, None, 9)


async def test_names_of_others_are_found_by_their_handles(home: AssetHome) -> None:
    async def work(session: Session) -> None:
        await session.run(
            "INSERT INTO users (sub, handle, name, created_at, created_by)"
            " VALUES ('ada', 'ada', 'Ada', 1, 'x')"
        )

    await home.database.write(work)
    made = await home.create(name="nets/one", content=b"1")
    with pytest.raises(NotFoundError) as caught:
        await home.keeper.named(BOB, "@ada/nets/one@1")
    assert made.asset.id not in str(caught.value)  # nobody learns that there is such a name
    await home.grant(made.asset.id, "bob", "read")
    assert await home.keeper.named(BOB, "@ada/nets/one@1") == made.asset.id
    assert await home.keeper.named(ADA, "nets/one") == made.asset.id
    for unknown in ("nets/one", "@ada/nets", "@nobody/nets/one", "@ada/nets/one@2", "@ada", "@"):
        with pytest.raises(NotFoundError):
            await home.keeper.named(BOB, unknown)


# Lists and changes


async def test_lists_show_what_the_caller_may_read_newest_first(home: AssetHome) -> None:
    mine = [(await home.create(content=b"1", asset_type=f"t{n % 2}")).asset for n in range(5)]
    theirs = (await home.create(BOB, content=b"1", visibility="public")).asset
    await home.create(BOB, content=b"1")
    found = await home.lists.page(ADA, Filter(), None, 9)
    assert [each.id for each in found] == [theirs.id, *(each.id for each in reversed(mine))]
    page = await home.lists.page(ADA, Filter(), (mine[3].created_at, mine[3].id), 2)
    assert [each.id for each in page] == [mine[2].id, mine[1].id]
    typed = await home.lists.page(ADA, Filter(asset_type="t1", state="ready"), None, 9)
    assert [each.id for each in typed] == [mine[3].id, mine[1].id]
    assert await home.lists.page(ADA, Filter(owner="nobody"), None, 9) == []


async def test_metadata_changes_and_nothing_else_does(home: AssetHome) -> None:
    asset = await home.ready()
    changed = await home.keeper.update(ADA, asset.id, b'{"re": 2000}')
    assert (changed.metadata_json, changed.components) == ('{"re": 2000}', asset.components)
    assert await home.keeper.update(ADA, asset.id, b'{"re": 2000}') == changed
    await home.grant(asset.id, "bob", "read")
    with pytest.raises(ForbiddenError):
        await home.keeper.update(BOB, asset.id, b"{}")
    with pytest.raises(NotFoundError):
        await home.keeper.update(EVE, asset.id, b"{}")


# Deleting and sweeping
