"""Noticing in S3 what others write: new names soon, the rest by a listing, and no false deaths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgard_server.run.scan import Noticer
from asgard_server.run.store import Key, RunRow
from asgard_server.store.s3_objects import Listed, Objects
from gimle.asgard.core.errors import StorageUnavailableError

from tests.unit.store.s3_replicas import (
    Cluster,
    Replica,
    a_result,
    a_run,
    cluster,
    eventually,
    running,
)


@pytest.fixture(params=["minio", "versitygw"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(request.param, tmp_path) as opened:
        yield opened


async def has(replica: Replica, run_id: str) -> bool:
    return await replica.index.run(run_id) is not None


async def settled(noticer: Noticer) -> None:
    await asyncio.wait_for(noticer.reconciled(), 60)


def remove(house: Cluster, path: str) -> None:
    house.store.client().delete_object(Bucket=house.place.bucket, Key=house.place.key(path))


def force(noticer: Noticer) -> None:
    """Have the whole place listed now, as it is once an hour."""
    noticer._forced = True


async def test_new_names_are_found_soon_and_the_rest_by_the_whole_listing(house: Cluster) -> None:
    replica = await house.replica()
    library = await asyncio.to_thread(house.library)
    before, gone = a_run(), a_run()
    for run in (before, gone):
        await asyncio.to_thread(library.create_run, run)
    noticer = replica.noticer()
    async with running(noticer.run()):
        await settled(noticer)
        assert await has(replica, before.id)
        new, late, uuid4 = a_run(), a_result(before.id), a_run(id="f7c0d5aa-not-by-time")
        await asyncio.to_thread(library.create_run, new)
        await asyncio.to_thread(library.create_run, uuid4)
        await asyncio.to_thread(library.add_result, late)
        await asyncio.to_thread(library.delete_run, gone.id)
        await eventually(lambda: has(replica, new.id))
        await eventually(lambda: result_is_known(replica, late.id))
        assert not await has(replica, uuid4.id)  # its name tells no time
        assert await has(replica, gone.id)
        force(noticer)
        await eventually(lambda: has(replica, uuid4.id))
        await eventually(lambda: is_gone(replica, gone.id))
        await asyncio.to_thread(library.update_run, new.id, renamed)
        force(noticer)

        async def is_renamed() -> bool:
            row = await replica.index.run(new.id)
            return isinstance(row, RunRow) and row.run.name == "renamed"

        await eventually(is_renamed)
    assert noticer.problem is None


def renamed(run: Any) -> Any:
    return replace(run, name="renamed")


async def result_is_known(replica: Replica, result_id: str) -> bool:
    return await replica.index.result(result_id) is not None


async def is_gone(replica: Replica, run_id: str) -> bool:
    return not await has(replica, run_id)


async def test_one_of_two_replicas_looks_and_the_other_when_it_has_stopped(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    entries = Objects.list

    def counted(self: Objects, folder: str, behind: str | None = None) -> Iterator[Listed]:
        looked.append(next(n for n, one in enumerate(house.replicas) if own(one, self)).__str__())
        return entries(self, folder, behind)

    def own(replica: Replica, objects: Objects) -> bool:
        return replica.documents._objects is objects

    one, other = await house.replica(), await house.replica()
    monkeypatch.setattr(Objects, "list", counted)
    second = other.noticer()

    async def first_has_looked() -> bool:
        return "0" in looked

    async with running(one.noticer().run()):
        await eventually(first_has_looked)
        async with running(second.run()):
            await settled(second)
            await asyncio.sleep(1)
            assert set(looked) == {"0"}
    looked.clear()
    run = a_run()
    async with running(other.noticer().run()):
        await asyncio.to_thread(lambda: house.library().create_run(run))
        await eventually(lambda: has(other, run.id))
    assert set(looked) == {"1"}


async def test_a_listing_that_breaks_off_and_a_prefix_that_vanishes_kill_nobody(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await house.replica()
    runs = [a_run() for _ in range(6)]
    for run in runs:
        await replica.create(run, [a_result(run.id)])
    _, head = await replica.index.head()
    entries = Objects.list

    def broken(self: Objects, folder: str, behind: str | None = None) -> Iterator[Listed]:
        for number, listed in enumerate(entries(self, folder, behind)):
            if number == 3:
                raise StorageUnavailableError("the bucket", "it broke off")
            yield listed

    noticer = replica.noticer()
    async with running(noticer.run()):
        await settled(noticer)
        with monkeypatch.context() as patch:
            patch.setattr(Objects, "list", broken)
            force(noticer)
            await eventually(lambda: has_problem(noticer))
        await eventually(lambda: has_no_problem(noticer))
        assert (await replica.index.head())[1] == head

        keys = await asyncio.to_thread(house.store.keys, house.place.bucket)
        kept = {key: body(house, key) for key in keys}
        for key in keys:
            house.store.client().delete_object(Bucket=house.place.bucket, Key=key)
        force(noticer)
        await eventually(lambda: has_problem(noticer))
        with pytest.raises(StorageUnavailableError):
            await replica.documents.create_run(a_run(), [])
        with pytest.raises(StorageUnavailableError):
            await replica.observer.observe(Key("run", runs[0].id))
        await asyncio.sleep(0.5)
        assert (await replica.index.head())[1] == head

        for key in sorted(kept, reverse=True):
            house.store.client().put_object(Bucket=house.place.bucket, Key=key, Body=kept[key])
        await eventually(lambda: has_no_problem(noticer))
        assert (await replica.index.head())[1] == head
        for run in runs:
            assert await has(replica, run.id)
        await asyncio.to_thread(remove, house, f"runs/{runs[0].id}.json")
        force(noticer)
        await eventually(lambda: is_gone(replica, runs[0].id))


def body(house: Cluster, key: str) -> bytes:
    answer = house.store.client().get_object(Bucket=house.place.bucket, Key=key)
    content: bytes = answer["Body"].read()
    return content


async def has_problem(noticer: Noticer) -> bool:
    return noticer.problem is not None


async def has_no_problem(noticer: Noticer) -> bool:
    return noticer.problem is None


async def test_an_object_without_a_byte_is_none(house: Cluster) -> None:
    replica = await house.replica()
    run = a_run()
    await replica.create(run)
    house.store.client().put_object(
        Bucket=house.place.bucket, Key=house.place.key(f"runs/{run.id}.json"), Body=b""
    )
    assert await replica.documents.read(Key("run", run.id)) is None
    listing = await replica.documents.scan("run")
    assert await asyncio.to_thread(list, listing) == []
    await replica.observer.observe(Key("run", run.id))
    assert not await has(replica, run.id)
