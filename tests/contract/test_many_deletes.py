"""Many blobs are deleted in few calls of the store, and swept in as few."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.blob.domain import MARGIN, NewUpload
from asgard_server.store import s3_bytes
from asgard_server.store.s3_bytes import S3Bytes
from botocore.client import BaseClient
from gimle.asgard.core.errors import StorageUnavailableError

from tests.contract.blob_homes import HOMES, STORES, Home
from tests.contract.blob_homes import home as a_home

MANY = 1_100


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    async with a_home(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture(params=STORES)
async def s3_home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    """A folder does not go away by itself: its process is killed in test_blob_crash.py."""
    async with a_home(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the store is asked for what."""
    counted: Counter[str] = Counter()
    client_class: Any = BaseClient
    inner = client_class._make_api_call

    def counting(client: Any, name: str, wish: Any) -> Any:
        counted[name] += 1
        return inner(client, name, wish)

    monkeypatch.setattr(client_class, "_make_api_call", counting)
    return counted


async def written(home: Home, count: int) -> None:
    """Small blobs, some at a time."""
    turns = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with turns:
            await home.keeper.write(NewUpload(name=f"n/{number}"), b"x")

    await asyncio.gather(*map(one, range(count)))


async def test_a_thousand_go_in_one_call(home: Home, calls: Counter[str]) -> None:
    await written(home, MANY)
    kept = await home.keeper.write(NewUpload(name="m/kept"), b"x")
    claimed = await home.keeper.blob("name:n/7")
    await home.keeper.claim([claimed.id], "asset/one")
    calls.clear()
    done = await home.keeper.delete_all("n/")
    assert (done.count, done.owned) == (MANY - 1, 1)
    assert sorted(await home.keys()) == sorted([kept.key, claimed.key])
    if isinstance(home.held, S3Bytes):
        assert calls["DeleteObjects"] == 2
        assert calls["DeleteObject"] == 0
    assert await home.keeper.release([], "asset/one") == 1
    assert await home.keys() == [kept.key]


async def test_what_a_store_that_goes_away_in_the_middle_has_left_one_sweep_removes(
    s3_home: Home, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = s3_home
    await written(home, 30)
    monkeypatch.setattr(s3_bytes, "_IN_ONE_CALL", 10)
    delete = S3Bytes._delete
    times = 0

    def once(held: S3Bytes, client: Any, keys: Any) -> None:
        nonlocal times
        times += 1
        if times == 2:
            raise StorageUnavailableError("the store", "it went away")
        delete(held, client, keys)

    monkeypatch.setattr(S3Bytes, "_delete", once)
    with pytest.raises(StorageUnavailableError):
        await home.keeper.delete_all("n/")
    assert len(await home.keys()) == 20
    home.clock.ahead = MARGIN + timedelta(days=1)
    calls.clear()
    await home.sweeper.sweep()
    assert await home.keys() == []
    assert calls["DeleteObjects"] == 3
    assert await home.table.overdue(home.clock(), 10) == []


async def test_bytes_that_a_store_refuses_to_remove_are_an_error(s3_home: Home) -> None:
    home = s3_home
    blob = await home.keeper.write(NewUpload(name="n/1"), b"x")

    class Refusing:
        """A store that lets nobody delete."""

        def delete_objects(self, **wish: Any) -> Any:
            key = wish["Delete"]["Objects"][0]["Key"]
            return {"Errors": [{"Key": key, "Code": "AccessDenied", "Message": "no"}]}

    held: Any = home.held
    ask = held._store.ask

    async def refused(work: Any) -> Any:
        return await ask(lambda _: work(Refusing()))

    held._store.ask = refused
    try:
        with pytest.raises(StorageUnavailableError):
            await home.held.remove_all([blob])
    finally:
        held._store.ask = ask
    assert await home.keys() == [blob.key]
