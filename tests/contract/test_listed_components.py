"""Of an asset of very many components all are shown where it is asked for, and some in lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.asset.store import Filter

from tests.contract.asset_homes import ADA, ENGINES, AssetHome, asset_home

MANY = 10_000


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


async def test_ten_thousand_components_are_shown_by_get_and_a_hundred_by_lists(
    home: AssetHome,
) -> None:
    names = tuple(f"part/{number:05}.npy" for number in range(MANY))
    made = await home.create(components=names)
    shown = await home.keeper.show(ADA, made.asset.id)
    assert tuple(each.name for each in shown.asset.components) == names
    (listed,) = await home.lists.page(ADA, Filter(), None, 10)
    assert tuple(each.name for each in listed.components) == names[:100]
