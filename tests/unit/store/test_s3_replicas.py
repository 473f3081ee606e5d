"""Documents in S3 under several replicas: none lost, none late, and the dead's work is finished."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asgard_server.run.ledger import Deletion, Write
from asgard_server.run.store import Change, Key, RunRow
from asgard_server.store import s3_finishing, s3_objects
from asgard_server.store.s3_writing import new_write
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import NotFoundError, StorageUnavailableError

from tests.unit.store.s3_replicas import (
    Cluster,
    Replica,
    a_result,
    a_run,
    cluster,
    eventually,
    hurried,
    ids,
    never_lists,
    running,
)


@pytest.fixture(params=["minio", "versitygw"])
async def house(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(s3_finishing, "LOOKS_EVERY_S", s3_finishing.LOOKS_EVERY_S)
    async with cluster(request.param, tmp_path) as opened:
        yield opened


async def follow(replica: Replica, until: int) -> list[Change]:
    seen: list[Change] = []
    while len(seen) < until:
        seen += await replica.index.changes(len(seen), 100)
        await asyncio.sleep(0.005)
    return seen


async def test_32_writers_in_two_replicas_lose_nothing_and_readers_miss_nothing(
    house: Cluster,
) -> None:
    replicas = [never_lists(await house.replica()) for _ in range(2)]
    runs = [a_run() for _ in range(3)]
    for run in runs:
        await replicas[0].create(run)
    readers = [asyncio.create_task(follow(one, 3 + 32 * 8)) for one in replicas]
    written: set[str] = set()

    async def write(writer: int) -> None:
        replica = replicas[writer % 2]
        for n in range(8):
            result = a_result(runs[(writer + n) % 3].id)
            revision = await replica.add(result)
            told = await replica.index.changes(max(0, revision - 300), 300)
            assert Key("result", result.id) in {one.key for one in told if one.revision <= revision}
            written.add(result.id)

    await asyncio.gather(*map(write, range(32)))
    first, second = await asyncio.wait_for(asyncio.gather(*readers), 30)
    assert first == second
    assert [change.revision for change in first] == list(range(1, 3 + 32 * 8 + 1))
    assert {change.key.id for change in first if change.key.kind == "result"} == written
    assert await replicas[0].ledger.begun(0) == []


async def test_what_a_killed_replica_has_written_another_makes_known_and_lists(
    house: Cluster,
) -> None:
    dead, alive = never_lists(await house.replica()), await house.replica()
    run = a_run()
    await dead.create(run)
    result, never = a_result(run.id), new_write(Key("result", "never"), run.id, lists=True)
    await dead.documents.add_result(result)  # it died before it observed it
    await dead.ledger.begin([never])  # and here before it wrote it
    assert await alive.index.result(result.id) is None
    hurried(alive)
    async with running(alive.documents.run(alive.observer.observe)):

        async def known() -> bool:
            return await alive.index.result(result.id) is not None

        async def listed() -> bool:
            return (await alive.run(run.id)).results == (result.id,)

        async def ended() -> bool:
            return not await alive.ledger.begun(0) and not await alive.ledger.unlisted(0)

        await eventually(known)
        await eventually(listed)
        await eventually(ended)
    changes = await alive.index.changes(0, 100)
    assert [change.key.id for change in changes] == [run.id, result.id, run.id]


async def test_a_list_that_nobody_went_on_with_is_written_by_another(house: Cluster) -> None:
    dead, alive = never_lists(await house.replica()), await house.replica()
    run = a_run()
    await dead.create(run)
    results = [a_result(run.id) for _ in range(5)]
    for result in results:
        await dead.add(result)
    assert (await alive.run(run.id)).results == ()
    alive.documents._lists.add(run.id)  # as its finisher does, some seconds later

    async def listed() -> bool:
        return set((await alive.run(run.id)).results) == ids(results)

    await eventually(listed)


async def test_a_busy_runs_list_is_rewritten_once_in_a_while_and_when_the_run_ends(
    house: Cluster,
) -> None:
    replica = await house.replica(list_every_s=0.5)
    run = a_run()
    await replica.create(run)
    results = [a_result(run.id) for _ in range(40)]
    async with running(replica.documents.run(replica.observer.observe)):
        await asyncio.sleep(0.05)
        for result in results:
            await replica.add(result)
            await asyncio.sleep(0.025)
        ended = await replica.documents.update_run(
            run.id, lambda run: replace(run, status="succeeded", finished_at=run.created_at)
        )
        assert set(ended.results) == ids(results)
        await replica.observer.observe(Key("run", run.id))
    changes = await replica.index.changes(1, 1_000)
    rewritten = [change for change in changes if change.key.kind == "run"]
    # At 25 ms or more for each result it took a second at least, and each took its time.
    assert 1 <= len(rewritten) <= 12


async def test_a_document_that_others_replaced_meanwhile_is_read_again(house: Cluster) -> None:
    one, other = await house.replica(), await house.replica()
    run = a_run()
    await one.create(run)

    await one.documents.update_run(run.id, lambda run: replace(run, name="first"))
    await other.documents.update_run(run.id, lambda run: replace(run, name="second"))
    await other.observer.observe(Key("run", run.id))
    await one.observer.observe(Key("run", run.id))
    for replica in (one, other):
        row = await replica.index.run(run.id)
        assert isinstance(row, RunRow)
        assert row.run.name == "second"
    assert (await one.index.head())[1] == 2
    assert await one.ledger.begun(0) == []


async def test_a_delete_and_an_add_at_once_leave_nothing_over(house: Cluster) -> None:
    one, other = await house.replica(), await house.replica()

    async def nothing_left() -> bool:
        return not any([await house.keys(folder) for folder in ("runs", "results", "files")])

    async with running(*(each.documents.run(each.observer.observe) for each in (one, other))):
        await deleted_while_added_to(one, other)
        await eventually(nothing_left)


async def deleted_while_added_to(one: Replica, other: Replica) -> None:
    for _ in range(6):
        run = a_run()
        await one.create(run, [a_result(run.id)])
        await other.add(a_result(run.id))  # from now on it believes that the run is there
        large = a_result(run.id, computed=np.arange(3_000.0))

        async def add(result: ResultDocument = large) -> bool:
            try:
                await other.add(result)
            except NotFoundError:
                return False
            return True

        async def delete(run_id: str = run.id) -> None:
            await asyncio.sleep(random.random() / 50)
            known = await one.index.result_ids(run_id)
            await one.documents.delete(Key("run", run_id), known)
            results = [Key("result", each) for each in known]
            await one.observer.observe(*results, Key("run", run_id))

        await asyncio.gather(add(), delete())
        assert not await add(a_result(run.id))
        assert await one.index.run(run.id) is None


async def test_a_result_that_is_listed_while_its_run_is_deleted_goes_too(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await house.replica(), never_lists(await house.replica())
    run = a_run()
    await one.create(run)
    result = a_result(run.id, computed=np.arange(3_000.0))
    unlisted = one.ledger.unlisted

    async def listed_then(age: float, run_id: str | None = None) -> list[Write]:
        monkeypatch.setattr(one.ledger, "unlisted", unlisted)
        found = await unlisted(age, run_id)
        await other.add(result)
        await other.documents._rewrite_list(run.id)
        await other.observer.observe(Key("run", run.id))
        return found

    monkeypatch.setattr(one.ledger, "unlisted", listed_then)
    await one.documents.delete(Key("run", run.id), [])
    assert [await house.keys(folder) for folder in ("runs", "results", "files")] == [[], [], []]


async def test_a_delete_that_broke_off_is_finished_by_another(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = await house.replica(), await house.replica()
    run = a_run()
    results = [a_result(run.id, computed=np.arange(2_000.0)), a_result(run.id)]
    await dead.create(run, results)
    names = await house.keys("files")
    assert len(names) == 1
    key = Key("run", run.id)
    marked = Deletion(key, run.id, tuple(result.id for result in results))
    await dead.ledger.mark(marked)
    found = await dead.documents._find(key)
    await dead.documents._deleter._empty(key, found)  # and here it died
    assert await alive.documents.read(key) is None
    monkeypatch.setattr(s3_finishing, "_DELETES_FOR_S", 0.2)
    hurried(alive)
    async with running(alive.documents.run(alive.observer.observe)):

        async def done() -> bool:
            return not await alive.ledger.marked(0)

        await eventually(done)  # the mark goes last
    assert await alive.index.run(run.id) is None
    assert [await house.keys(folder) for folder in ("runs", "results", "files")] == [[], [], []]
    with pytest.raises(NotFoundError):
        await alive.add(a_result(run.id))


async def test_a_delete_that_is_asked_again_answers_when_nothing_is_left(house: Cluster) -> None:
    dead, alive = await house.replica(), await house.replica()
    run = a_run()
    results = [a_result(run.id, computed=np.arange(2_000.0)), a_result(run.id)]
    await dead.create(run, results)
    key = Key("run", run.id)
    await dead.ledger.mark(Deletion(key, run.id, tuple(result.id for result in results)))
    await dead.documents._objects.delete([f"runs/{run.id}.json"])  # and here it died
    with pytest.raises(NotFoundError):
        await alive.documents.delete(key, await alive.index.result_ids(run.id))
    assert [await house.keys(folder) for folder in ("runs", "results", "files")] == [[], [], []]
    assert await alive.ledger.marked(0) == []


async def test_arrays_of_a_dead_writer_go_and_those_of_a_living_one_stay(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = await house.replica(), await house.replica()
    run = a_run()
    await dead.create(run)
    kept = a_result(run.id, computed=np.arange(2_000.0))
    await dead.add(kept)
    half = a_result(run.id, computed=np.arange(2_000.0))
    left = f"{half.id}_computed.npy"
    write = new_write(Key("result", half.id), run.id, files=[left], lists=True)
    await dead.ledger.begin([write])
    await asyncio.to_thread(
        lambda: house.store.client().put_object(
            Bucket=house.place.bucket, Key=house.place.key(f"files/{left}"), Body=b"half"
        )
    )
    hurried(alive)
    async with running(alive.documents.run(alive.observer.observe)):
        await asyncio.sleep(1)
        assert left in await house.keys("files")  # he may live
        monkeypatch.setattr(s3_finishing, "GIVEN_UP_AFTER_S", 1.0)

        async def gone() -> bool:
            return left not in await house.keys("files")

        await eventually(gone)
    assert await house.keys("files") == [f"{kept.id}_computed.npy"]
    with pytest.raises(StorageUnavailableError, match="save again"):
        await dead.documents._writing.still(write)
    await dead.add(half)  # the id is free
    opened = await dead.documents.open_result(half.id)
    np.testing.assert_array_equal(opened.data["computed"], np.arange(2_000.0))


async def test_a_store_that_stops_for_a_while_is_waited_for(house: Cluster) -> None:
    replica = never_lists(await house.replica())
    run = a_run()
    await replica.create(run)
    results = [a_result(run.id) for _ in range(24)]

    async def add(number: int) -> None:
        await asyncio.sleep(number / 20)
        await replica.add(results[number])

    adding = asyncio.gather(*map(add, range(24)))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(house.store.stop, signal.SIGKILL)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(house.store.start)
    await asyncio.wait_for(adding, 30)
    assert set(await replica.index.result_ids(run.id)) == ids(results)
    assert {key.removesuffix(".json") for key in await house.keys("results")} == ids(results)


async def test_a_store_that_stays_away_is_told_and_nothing_is_half_made(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = never_lists(await house.replica())
    run = a_run()
    await replica.create(run)
    result = a_result(run.id)
    monkeypatch.setattr(s3_objects, "PATIENCE_S", 0.5)
    await asyncio.to_thread(house.store.stop, signal.SIGKILL)
    try:
        with pytest.raises(StorageUnavailableError):
            await replica.add(result)
        with pytest.raises(StorageUnavailableError):
            await replica.documents.check()
    finally:
        await asyncio.to_thread(house.store.start)
    assert await replica.index.result(result.id) is None
    assert len(await replica.ledger.begun(0)) == 1
    await replica.add(result)
    assert await replica.index.result(result.id) is not None
