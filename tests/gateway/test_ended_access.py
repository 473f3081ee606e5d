"""What a grant, a membership or a key allowed ends within a second of its being taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.gateway.ended_access import Scene, check, ends_within
from tests.gateway.houses import a_house


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_house(tmp_path / "storage") as house:
        yield Scene(house["alice"], house["bob"], house.root, house.served.client)


async def test_a_grant_that_is_taken_back_allows_nothing_a_second_later(scene: Scene) -> None:
    check(await ends_within(scene.a_grant))


async def test_who_leaves_a_team_may_do_nothing_by_it_a_second_later(scene: Scene) -> None:
    check(await ends_within(scene.a_membership))


async def test_a_key_that_is_revoked_is_refused_a_second_later(scene: Scene) -> None:
    check(await ends_within(scene.a_key))
