"""What is answered of assets says what was done, and reading one writes nothing twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgard_server.asset.keeping import Keeper
from asgard_server.asset.telling import bell
from asgard_server.feed.memory import MemoryFeed
from asgard_server.store.rpc_blobs import RpcBlobs
from asgard_server.store.sql.assets import SqlAssets
from gimle.asgard.core.errors import StorageUnavailableError

from tests.contract.asset_homes import ADA, ENGINES, AssetHome, asset_home


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


async def test_a_change_that_is_done_is_answered_as_done_when_nobody_can_be_told(
    home: AssetHome,
) -> None:
    asked = 0

    async def away() -> int:
        nonlocal asked
        asked += 1
        raise StorageUnavailableError("the database", "it went after the commit", passing=True)

    keeper = Keeper(home.assets, home.blobs, home.store.clock, bell(away, MemoryFeed()))
    made = await home.create(content=b'{"a": 1}')
    changed = await keeper.update(ADA, made.asset.id, b'{"b": 2}')
    assert changed.metadata_json == '{"b": 2}'
    assert asked == 1
    removed = await keeper.delete(ADA, made.asset.id)
    assert removed.inline == 1


async def test_urls_of_an_inline_asset_are_written_for_once(
    home: AssetHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    for place, name in ((RpcBlobs, "write"), (SqlAssets, "keep_content_as_blob")):
        _note(monkeypatch, place, name, written)
    made = await home.create(content=b'{"a": 1}')
    for _ in range(3):
        urls, _ = await home.keeper.presign_reads(ADA, made.asset.id, ())
        answer = await home.store.http.get(urls["default"])
        assert (answer.status_code, answer.content) == (200, b'{"a": 1}')
        shown = await home.keeper.show(ADA, made.asset.id, presigned=True)
        assert shown.urls is not None
    assert written == ["keep_content_as_blob", "write"]
    assert await home.count("blobs", "WHERE state = 'ready'") == 1


async def test_who_died_before_the_bytes_were_written_keeps_nobody_from_them(
    home: AssetHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await home.create(content=b'{"a": 1}')

    async def dies(*_: Any) -> None:
        raise StorageUnavailableError("the store", "it went", passing=True)

    with monkeypatch.context() as dying:
        dying.setattr(type(home.store.held), "write", dies)
        with pytest.raises(StorageUnavailableError):
            await home.keeper.presign_reads(ADA, made.asset.id, ())
    assert await home.count("blobs", "WHERE state = 'uploading'") == 1
    urls, _ = await home.keeper.presign_reads(ADA, made.asset.id, ())
    assert (await home.store.http.get(urls["default"])).content == b'{"a": 1}'


def _note(monkeypatch: pytest.MonkeyPatch, place: type[Any], name: str, written: list[str]) -> None:
    original = getattr(place, name)

    async def noted(*given: Any) -> Any:
        written.append(name)
        return await original(*given)

    monkeypatch.setattr(place, name, noted)
