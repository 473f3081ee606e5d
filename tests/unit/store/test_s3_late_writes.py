"""What arrives in S3 when its document has been deleted: the store refuses it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from asgard_server.processes.examining import examine
from asgard_server.run.store import Key
from asgard_server.settings import Settings
from asgard_server.store import s3_deleting, s3_finishing, s3_objects
from asgard_server.store.s3_writing import new_write
from botocore.exceptions import ClientError
from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_result, encode_run
from gimle.asgard.core.errors import AlreadyExistsError, NotFoundError

from tests.cluster.faulty_store import FaultyStore, faulty
from tests.contract.document_places import STORES
from tests.engines import postgres
from tests.unit.store.s3_replicas import (
    Cluster,
    Replica,
    a_result,
    a_run,
    cluster,
    eventually,
    hurried,
    never_lists,
    running,
)

FOLDERS = ("runs", "results", "files")


@pytest.fixture(params=["minio", "versitygw"])
async def house(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(s3_finishing, "LOOKS_EVERY_S", s3_finishing.LOOKS_EVERY_S)
    monkeypatch.setattr(s3_deleting, "DEAD_AFTER_S", 0.5)
    async with cluster(request.param, tmp_path) as opened:
        yield opened


async def arrives(house: Cluster, folder: str, id: str, body: bytes) -> bool:
    """What a replica has sent before it died arrives now; whether the store takes it."""
    key = house.place.key(f"{folder}/{id}.json")

    def put() -> bool:
        client = house.store.client()
        try:
            client.put_object(Bucket=house.place.bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    return await asyncio.to_thread(put)


async def documents(house: Cluster) -> list[str]:
    """The documents and arrays there are. One without a byte is none."""
    found = []
    for folder in FOLDERS:
        for name in await house.keys(folder):
            key = house.place.key(f"{folder}/{name}")
            size = house.store.client().head_object(Bucket=house.place.bucket, Key=key)
            found += [name] if size["ContentLength"] else []
    return found


async def delete(replica: Replica, run: RunDocument) -> None:
    """Delete a run as the service does."""
    known = await replica.index.result_ids(run.id)
    await replica.documents.delete(Key("run", run.id), known)
    await replica.observer.observe(*(Key("result", each) for each in known), Key("run", run.id))


async def swept(house: Cluster, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of an hour later nothing can arrive any more, and nothing is left."""
    monkeypatch.setattr(s3_finishing, "STRAYS_FOR_S", 0.0)
    hurried(replica)
    async with running(replica.documents.run(replica.observer.observe)):

        async def done() -> bool:
            return not await replica.ledger.strays(0)

        await eventually(done)
    assert [await house.keys(folder) for folder in FOLDERS] == [[], [], []]


@pytest.mark.parametrize("forgotten", [False, True], ids=["begun", "observed by another"])
async def test_what_a_killed_replica_has_sent_does_not_bring_back_what_was_deleted(
    house: Cluster, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    dead, alive = never_lists(await house.replica()), never_lists(await house.replica())
    run = a_run()
    result = a_result(run.id)
    # Both were on their way when it died, and were asked for again.
    await dead.ledger.begin(
        [
            new_write(Key("run", run.id), run.id),
            new_write(Key("result", result.id), run.id, lists=True),
        ]
    )
    await alive.create(run)
    await alive.add(result)
    if forgotten:
        hurried(alive, dead_after_s=0.0)
        async with running(alive.documents.run(alive.observer.observe)):

            async def ended() -> bool:
                return not await alive.ledger.begun(0)

            await eventually(ended)
    await delete(alive, run)
    assert not await arrives(house, "runs", run.id, encode_run(run))
    assert not await arrives(house, "results", result.id, encode_result(result))
    assert await documents(house) == []
    for key in (Key("run", run.id), Key("result", result.id)):
        assert await alive.documents.read(key) is None
        assert [entry.key for entry in await alive.documents.scan(key.kind)] == []
    assert await alive.index.run(run.id) is None
    assert await alive.index.result(result.id) is None
    with pytest.raises(NotFoundError):
        await dead.documents.create_run(run, ())
    await swept(house, alive, monkeypatch)


async def test_a_result_that_nobody_knew_of_does_not_come_to_a_deleted_run(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = await house.replica(), await house.replica()
    run = a_run()
    await alive.create(run)
    result = a_result(run.id)
    await dead.ledger.begin([new_write(Key("result", result.id), run.id, lists=True)])
    await delete(alive, run)
    assert not await arrives(house, "results", result.id, encode_result(result))
    await swept(house, alive, monkeypatch)


async def test_what_bars_a_late_write_is_no_finding(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = await house.replica(), never_lists(await house.replica())
    run = a_run()
    result = a_result(run.id)
    await dead.ledger.begin([new_write(Key("run", run.id), run.id)])
    await alive.create(run)
    await dead.ledger.begin([new_write(Key("result", result.id), run.id, lists=True)])
    await delete(alive, run)
    assert len(await house.keys("runs")) == len(await house.keys("results")) == 1
    monkeypatch.setenv("ASGARD_STORAGE", str(house.place))
    monkeypatch.setenv("ASGARD_DATABASE_URL", await postgres.database_of(house.folder))
    for name, value in house.store.variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment(os.environ)

    async def found(repair: bool = False) -> list[str]:
        # However long ago it was: the ledger names them.
        whole = await examine(
            settings, lambda step, count: None, repair=repair, young=timedelta(minutes=-1)
        )
        return [one.path for one in whole.report.findings]

    assert await found(repair=True) == []
    assert len(await house.keys("runs")) == len(await house.keys("results")) == 1
    await alive.ledger.end([stray.token for stray in await alive.ledger.strays(0)])
    assert sorted(await found()) == [f"results/{result.id}.json", f"runs/{run.id}.json"]


async def test_a_slow_writer_is_refused_when_what_he_writes_is_deleted_under_him(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = never_lists(await house.replica()), never_lists(await house.replica())
    run = a_run()
    await other.create(run)
    result = a_result(run.id)
    put, held, going = slow.documents._objects.create, asyncio.Event(), asyncio.Event()

    async def late(path: str, body: bytes) -> s3_objects.Made | None:
        held.set()
        await going.wait()
        return await put(path, body)

    monkeypatch.setattr(slow.documents._objects, "create", late)
    adding = asyncio.create_task(slow.add(result))
    await held.wait()
    await other.add(result)  # asked for again there
    await delete(other, run)
    going.set()
    with pytest.raises(NotFoundError):
        await adding
    assert await documents(house) == []
    assert await slow.index.result(result.id) is None
    await swept(house, other, monkeypatch)


async def test_a_result_that_was_deleted_alone_is_not_written_again_by_one_who_is_late(
    house: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = never_lists(await house.replica()), never_lists(await house.replica())
    run = a_run()
    await other.create(run)
    result = a_result(run.id)
    begun = new_write(Key("result", result.id), run.id, lists=True)
    await slow.ledger.begin([begun])
    await other.add(result)
    await other.documents.delete(Key("result", result.id))
    assert not await arrives(house, "results", result.id, encode_result(result))
    with pytest.raises(NotFoundError):  # he has not begun yet
        await slow.documents.add_result(result)
    await other.observer.observe(Key("result", result.id))
    assert await other.index.result(result.id) is None
    assert [await house.keys("results"), await documents(house)] == [
        [f"{result.id}.json"],
        [f"{run.id}.json"],
    ]


@pytest.fixture(params=["minio", "versitygw"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[FaultyStore]:
    async with faulty(STORES[request.param]()) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["run", "result"])
async def test_an_attempt_without_an_answer_does_not_bring_back_what_was_deleted(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(s3_objects, "ATTEMPT_S", 1.0)
    monkeypatch.setattr(s3_finishing, "LOOKS_EVERY_S", s3_finishing.LOOKS_EVERY_S)
    async with cluster(store, tmp_path) as house:
        replica = never_lists(await house.replica())
        run = a_run()
        result: ResultDocument = a_result(run.id)
        store.fault = "late" if kind == "run" else ""
        await replica.create(run)
        store.fault = "late" if kind == "result" else ""
        await replica.add(result)
        assert store.lies == 1
        with pytest.raises(AlreadyExistsError):
            await replica.documents.create_run(run, ())
        await delete(replica, run)
        assert await store.arrive() == 412
        assert await documents(house) == []
        await swept(house, replica, monkeypatch)


async def test_who_took_long_to_write_reads_back_what_he_has_written(house: Cluster) -> None:
    one = never_lists(await house.replica())
    run = a_run()
    await one.documents.create_run(run, ())
    key = Key("run", run.id)
    (note,) = one.documents.written.of([key])[key]
    one.documents.written.settled([note])
    assert note.found is not None
    long_ago = note.at - timedelta(seconds=8).total_seconds()
    one.documents.written.note(note.write, None, note.found, long_ago)
    await one.documents._objects.delete([f"runs/{run.id}.json"])  # by others, meanwhile
    await one.observer.observe(key)
    assert await one.index.run(run.id) is None
