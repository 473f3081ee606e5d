"""fsck asks assets which blobs they need, and of claims whether their owners are there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from asgard_server.blob.examining import Examined, Examiner
from asgard_server.store.sql.asset_upkeep import AssetClaims
from asgard_server.store.sql.session import Session

from tests.contract.asset_homes import ADA, ENGINES, AssetHome, asset_home


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


async def examined(home: AssetHome) -> Examined:
    claims = AssetClaims(home.database)
    examiner = Examiner(
        *(home.store.table, home.store.holdings, home.store.clock),
        claimants=(claims,),
        young=timedelta(),
        margin=timedelta(),
    )
    return await examiner.examine(repair=True, deep=True)


async def test_a_store_full_of_assets_is_well(home: AssetHome) -> None:
    await home.ready()
    await home.ready(pending_reasons=("r",))
    inline = await home.create(content=b"{}")
    await home.keeper.show(ADA, inline.asset.id, presigned=True)
    await home.send(await home.create())
    done = await examined(home)
    assert done.findings == []
    assert done.ready.count == 5


async def test_blobs_that_a_missing_asset_has_claimed_are_told_of(home: AssetHome) -> None:
    asset = await home.ready(components=("a.bin",))

    async def lose(session: Session) -> None:
        for table in ("asset_components", "asset_texts"):
            await session.run(f"DELETE FROM {table} WHERE asset_id = ?", asset.id)
        await session.run("DELETE FROM assets WHERE id = ?", asset.id)

    await home.database.write(lose)
    (found,) = (await examined(home)).findings
    assert (found.kind, found.repaired) == ("claimed_by_nobody", False)
    assert f"asset/{asset.id}" in found.problem


async def test_blobs_that_an_asset_misses_are_told_of(home: AssetHome) -> None:
    asset = await home.ready(components=("a.bin", "b.bin"))
    await home.blobs.release(asset.blobs_owner)
    found = (await examined(home)).findings
    assert [each.kind for each in found] == ["missing_blob", "missing_blob"]
    assert asset.id in found[0].problem
