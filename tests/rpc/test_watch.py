from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from asgard_server.auth.principal import LOCAL, SERVICE_SUB, Principal
from asgard_server.feed.memory import MemoryFeed
from asgard_server.run import events
from asgard_server.run.observe import Observer
from asgard_server.run.store import Key
from asgard_server.run.watch import TOKENS, RunWatch
from asgard_server.store.folder import FolderDocuments
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.watching import frames
from gimle.asgard.core.documents import RunDocument
from gimle.asgard.core.errors import StoppingError, WatcherTooSlowError
from gimle.asgard.core.folder import Folder
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.rpc.running import NOON, Refusal, Running, a_result, a_service, eventually, refusal
from tests.rpc.watching import Heard, Told, told

CODE = grpc.StatusCode
SNAPSHOT = pb.WatchRunsRequest.START_SNAPSHOT
Change = pb.WatchRunsResponse.Change


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path) as running:
        yield running


async def create(service: Running, name: str = "r") -> str:
    run_id: str = (await service.stub.CreateRun(pb.CreateRunRequest(name=name))).run.run_id
    return run_id


def watching(service: Running, **request: Any) -> Heard:
    return Heard(service.stub.WatchRuns(pb.WatchRunsRequest(**request)))


async def following(heard: Heard) -> Told:
    """The next thing told that is no checkpoint."""
    while True:
        event = await asyncio.wait_for(heard.next(), 40)
        if event.kind != "checkpoint":
            return event


async def standing(heard: Heard) -> str:
    """Read until the watch says that it has caught up; its token."""
    event = await asyncio.wait_for(heard.next(), 40)
    assert event.kind == "checkpoint"
    return event.resume_token


async def test_a_watch_from_now_tells_what_happens_and_nothing_of_before(
    service: Running,
) -> None:
    await create(service, "before")
    call = watching(service)
    await standing(call)
    run_id = await create(service, "after")
    event = await following(call)
    change = event.change
    assert (change.kind, change.object_type) == (Change.KIND_UPDATE, Change.OBJECT_TYPE_RUN)
    assert (change.object_id, change.run.name, change.run.live) == (run_id, "after", True)
    assert change.run == (await service.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run
    assert event.revision
    assert event.resume_token


async def test_results_and_deletions_are_told_with_the_run_they_belong_to(
    service: Running,
) -> None:
    run_id = await create(service)
    call = watching(service)
    await standing(call)
    adding = pb.AddResultRequest(run_id=run_id, result=a_result(display=b'{"title":"T"}'))
    result = (await service.stub.AddResult(adding)).result
    told = [(await following(call)).change for _ in range(2)]
    by_type = {change.object_type: change for change in told}
    assert by_type[Change.OBJECT_TYPE_RESULT].result == result
    assert by_type[Change.OBJECT_TYPE_RESULT].run_id == run_id
    assert by_type[Change.OBJECT_TYPE_RUN].run.result_count == 1
    await service.stub.DeleteRun(pb.DeleteRunRequest(run_id=run_id))
    gone: set[tuple[int, str, str]] = set()
    while len(gone) < 2:
        change = (await following(call)).change
        assert not change.HasField("run")
        if change.kind == Change.KIND_DELETE:
            gone.add((change.object_type, change.object_id, change.run_id))
    assert gone == {
        (Change.OBJECT_TYPE_RUN, run_id, ""),
        (Change.OBJECT_TYPE_RESULT, result.result_id, run_id),
    }


async def test_a_save_by_the_library_in_the_same_folder_is_told(service: Running) -> None:
    call = watching(service)
    await standing(call)
    storage = AsgardStorage(str(service.folder))
    run = await asyncio.to_thread(storage.create_run, name="by the library")
    change = (await following(call)).change
    assert (change.object_id, change.run.name) == (run.id, "by the library")


async def test_a_snapshot_is_everything_between_reset_and_its_end(service: Running) -> None:
    run_id = await create(service)
    await create(service)
    adding = pb.AddResultRequest(run_id=run_id, result=a_result())
    await service.stub.AddResult(adding)
    call = watching(service, start=SNAPSHOT)
    events = [await following(call) for _ in range(5)]
    assert [event.kind for event in events] == [
        "reset",
        "change",
        "change",
        "change",
        "snapshot_end",
    ]
    assert [event.revision for event in events[:4]] == [0] * 4
    assert {event.resume_token for event in events[:4]} == {""}
    assert events[4].resume_token
    newer = await create(service, "newer")
    assert (await following(call)).change.object_id == newer


async def test_a_watch_resumes_behind_its_token_and_misses_nothing(service: Running) -> None:
    call = watching(service)
    token = await standing(call)
    call.call.cancel()
    made = [await create(service) for _ in range(5)]
    call = watching(service, resume_token=token)
    events = [await following(call) for _ in range(5)]
    assert [event.change.object_id for event in events] == made
    call = watching(service, resume_token=events[2].resume_token)
    assert [(await following(call)).change.object_id for _ in range(2)] == made[3:]


async def test_a_watch_of_one_run_hears_of_that_run_alone_and_its_token_moves_on(
    service: Running,
) -> None:
    mine, other = await create(service), await create(service)
    call = watching(service, run_id=mine, start=SNAPSHOT)
    seen = [await following(call) for _ in range(3)]
    assert [event.change.object_id for event in seen[1:2]] == [mine]
    for run_id in (other, mine, other):
        adding = pb.AddResultRequest(run_id=run_id, result=a_result())
        await service.stub.AddResult(adding)
    told = [await following(call) for _ in range(2)]
    assert {event.change.run_id or event.change.object_id for event in told} == {mine}
    # Its token belongs to this filter alone.
    token = told[-1].resume_token
    expected: Refusal = (CODE.OUT_OF_RANGE, "RESUME_TOKEN_UNUSABLE", {})
    for request in (
        pb.WatchRunsRequest(resume_token=token),
        pb.WatchRunsRequest(resume_token=token, run_id=other),
    ):
        assert await refusal(service.stub.WatchRuns(request)) == expected


@pytest.mark.parametrize("token", ["nonsense", "ä", "AAAA", "x" * 5_000])
async def test_what_is_no_token_asks_for_a_snapshot(service: Running, token: str) -> None:
    request = pb.WatchRunsRequest(resume_token=token)
    expected: Refusal = (CODE.OUT_OF_RANGE, "RESUME_TOKEN_UNUSABLE", {})
    assert await refusal(service.stub.WatchRuns(request)) == expected


async def test_a_token_of_another_storage_asks_for_a_snapshot(tmp_path: Path) -> None:
    async with a_service(tmp_path / "one") as one, a_service(tmp_path / "two") as two:
        token = await standing(watching(one))
        request = pb.WatchRunsRequest(resume_token=token)
        assert (await refusal(two.stub.WatchRuns(request)))[1] == "RESUME_TOKEN_UNUSABLE"


async def test_a_token_stays_good_over_a_restart(tmp_path: Path) -> None:
    async with a_service(tmp_path) as service:
        token = await standing(watching(service))
        made = [await create(service)]
    async with a_service(tmp_path) as service:
        made.append(await create(service))
        call = watching(service, resume_token=token)
        assert [(await following(call)).change.object_id for _ in range(2)] == made


async def test_a_service_that_stops_says_so_to_those_who_watch(tmp_path: Path) -> None:
    async with a_service(tmp_path) as service:
        call = watching(service)
        await standing(call)
        ending = asyncio.create_task(refusal(call.call))
        await service.service.drain()
        assert (await ending)[:2] == (CODE.UNAVAILABLE, "STOPPING")


class Place:
    """A folder with its index and bell, to watch it as no client can: without a wire."""

    def __init__(self, folder: Folder, documents: FolderDocuments, index: SqliteRunIndex) -> None:
        self.folder = folder
        self.documents = documents
        self.index = index
        self.feed = MemoryFeed()
        self.observer = Observer(index, self.feed)

    async def change(self, number: int, **extra: str) -> None:
        run = RunDocument(f"r{number}", "r", NOON, NOON, note="x" * 100, extra=extra)
        await self.documents.create_run(run, ())
        await self.observer.observe(Key("run", run.id))

    def watched(self, **limits: Any) -> RunWatch:
        return RunWatch(self.index, self.feed, lambda: datetime.now(UTC), **limits)


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    folder = Folder(tmp_path, durability="relaxed")
    with ThreadPoolExecutor(4) as pool:
        documents = FolderDocuments(folder, pool)
        index = await SqliteRunIndex.open(
            tmp_path / "index.sqlite3", documents.read_now, storage_id=folder.storage_id
        )
        yield Place(folder, documents, index)
        await index.close()


@asynccontextmanager
async def reading(watch: RunWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def heard(message: bytes) -> list[Told]:
    return told(pb.WatchRunsResponse.FromString(message))


async def test_a_watcher_that_does_not_read_is_ended_and_resumes_without_a_gap(
    place: Place,
) -> None:
    watch = place.watched(capacity=20)
    async with reading(watch):
        slow = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        token = heard(await anext(slow))[0].resume_token
        for number in range(60):
            await place.change(number)
        await asyncio.sleep(0.3)
        seen: list[int] = []

        async def read_on() -> None:
            nonlocal token
            async for message in slow:
                for event in heard(message):
                    seen.append(event.revision)
                    token = event.resume_token

        with pytest.raises(WatcherTooSlowError):
            await read_on()
        resumed = watch.watch(snapshot=False, token=token, run_id="", by=LOCAL)
        while not seen or seen[-1] < 60:
            following = heard(await asyncio.wait_for(anext(resumed), 40))
            seen += [event.revision for event in following if event.kind == "change"]
        assert seen == list(range(1, 61))
        await resumed.aclose()


async def test_a_watcher_that_reads_is_not_ended_by_one_that_does_not(place: Place) -> None:
    watch = place.watched(capacity=20)
    async with reading(watch):
        stuck = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        await anext(stuck)
        fast = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        await anext(fast)
        seen: list[int] = []

        async def read() -> None:
            while True:
                seen.extend(event.revision for event in heard(await anext(fast)))

        reader = asyncio.create_task(read())
        for number in range(100):
            await place.change(number)
        await eventually(lambda: len(seen) >= 100)
        assert seen == list(range(1, 101))
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await stuck.aclose()


async def test_the_bound_counts_bytes_too(place: Place) -> None:
    watch = place.watched(capacity_bytes=1_000)
    async with reading(watch):
        slow = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        await anext(slow)
        for number in range(30):
            await place.change(number)
        await asyncio.sleep(0.3)
        with pytest.raises(WatcherTooSlowError):
            async for _ in slow:
                pass


async def test_on_silence_a_checkpoint_comes_with_a_token_that_resumes(place: Place) -> None:
    watch = place.watched(checkpoint_seconds=0.05)
    async with reading(watch):
        events = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        for _ in range(4):
            event = heard(await asyncio.wait_for(anext(events), 40))[0]
            assert event.kind == "checkpoint"
        await events.aclose()
        await place.change(1)
        again = watch.watch(snapshot=False, token=event.resume_token, run_id="", by=LOCAL)
        event = heard(await anext(again))[0]
        while event.kind == "checkpoint":
            event = heard(await asyncio.wait_for(anext(again), 40))[0]
        assert event.change.object_id == "r1"
        await again.aclose()


async def test_each_change_is_encoded_once_for_all_watchers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = events.encode

    def counting(changes: Any, rows: Any, now: datetime, circles: Any) -> Any:
        made = encode(changes, rows, now, circles)
        encoded.extend(event.revision for event in made)
        return made

    monkeypatch.setattr(events, "encode", counting)
    watch = place.watched()
    async with reading(watch):
        watchers = [watch.watch(snapshot=False, token="", run_id="", by=LOCAL) for _ in range(25)]
        for watcher in watchers:
            await anext(watcher)
        await place.change(1)
        for watcher in watchers:
            assert heard(await anext(watcher))[0].change.object_id == "r1"
            await watcher.aclose()
    assert encoded == [1]


async def test_of_those_who_see_everything_services_alone_are_told_of_readers(
    place: Place,
) -> None:
    watch = place.watched()
    async with reading(watch):
        service = Principal(SERVICE_SUB, "service")
        callers = (LOCAL, service, LOCAL, service)
        watchers = [watch.watch(snapshot=False, token="", run_id="", by=by) for by in callers]
        for watcher in watchers:
            await anext(watcher)
        await place.change(1, owner="ada")
        said = [heard(await anext(watcher))[0].change for watcher in watchers]
        assert [list(change.readers_after) for change in said] == [[], ["ada"]] * 2
        assert [change.object_id for change in said] == ["r1"] * 4
        for watcher in watchers:
            await watcher.aclose()


async def test_a_bell_that_never_rings_costs_a_moment_and_no_event(place: Place) -> None:
    place.observer = Observer(place.index, MemoryFeed())  # rings where nobody listens
    watch = place.watched()
    async with reading(watch):
        watcher = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        await anext(watcher)
        await place.change(1)
        event = heard(await asyncio.wait_for(anext(watcher), 40))[0]
        assert event.change.object_id == "r1"
        await watcher.aclose()


async def test_bells_are_heard_only_while_somebody_watches(place: Place) -> None:
    watch = place.watched()
    async with reading(watch):
        await place.change(0)
        assert not place.feed._listeners
        for number in (1, 2):
            watcher = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
            await anext(watcher)
            await eventually(lambda: bool(place.feed._listeners))
            await place.change(number)
            event = heard(await asyncio.wait_for(anext(watcher), 40))[0]
            assert event.change.object_id == f"r{number}"
            await watcher.aclose()
            await place.feed.ring("runs", 1_000)
            await eventually(lambda: not place.feed._listeners)


async def test_after_a_stop_nobody_begins_to_watch(place: Place) -> None:
    watch = place.watched()
    async with reading(watch):
        watch.stop()
        with pytest.raises(StoppingError):
            await anext(watch.watch(snapshot=False, token="", run_id="", by=LOCAL))


async def test_what_waits_for_a_watcher_is_one_message(place: Place) -> None:
    watch = place.watched()
    async with reading(watch):
        watcher = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        token = heard(await anext(watcher))[0].resume_token
        for number in range(100):
            await place.change(number)
        await asyncio.sleep(0.1)
        told_at_once = heard(await anext(watcher))
        assert [each.revision for each in told_at_once] == list(range(1, 101))
        await watcher.aclose()
        # From the middle of a message one resumes behind that change, from the log as well.
        for middle in (told_at_once[41].resume_token, token):
            again = watch.watch(snapshot=False, token=middle, run_id="", by=LOCAL)
            following = heard(await anext(again))
            assert [each.revision for each in following][-1] == 100
            assert len(following) == (58 if middle != token else 100)
            await again.aclose()


async def test_a_message_is_closed_before_it_grows_past_its_bound(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MESSAGE_BYTES", 2_000)
    for number in range(100):
        await place.change(number)
    watch = place.watched()
    async with reading(watch):
        for snapshot in (True, False):
            first = "" if snapshot else TOKENS.maker((await place.index.head())[0], "").token(0)
            watcher = watch.watch(snapshot=snapshot, token=first, run_id="", by=LOCAL)
            seen: list[str] = []
            while len(seen) < 100:
                message = await anext(watcher)
                assert len(message) < 3_500, "the tokens come on top"
                seen += [each.change.object_id for each in heard(message) if each.kind == "change"]
            assert sorted(seen) == sorted(f"r{number}" for number in range(100))
            await watcher.aclose()


async def test_a_change_alone_is_told_at_once_and_those_close_behind_it_together(
    place: Place,
) -> None:
    watch = place.watched()
    async with reading(watch):
        watcher = watch.watch(snapshot=False, token="", run_id="", by=LOCAL)
        await anext(watcher)
        messages: list[int] = []

        async def read() -> None:
            while True:
                messages.append(len(heard(await anext(watcher))))

        reader = asyncio.create_task(read())
        for number in range(200):
            await place.change(number)
            if number == 0:
                await eventually(lambda: messages == [1])
        await eventually(lambda: sum(messages) == 200)
        assert len(messages) < 100, messages
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
