"""Every watcher sees every revision once and in order, whatever happens around it."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from tests.rpc.process import ServerProcess, a_server
from tests.rpc.running import OPTIONS, a_result, a_service, eventually
from tests.rpc.watching import Watcher

WATCHERS = 20
CHANGES = 10_000
# Results of a run that is saved at once: with its run, so many changes and one more.
RESULTS = 24

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def persisting(call: Any) -> Any:
    """Call until the service is there again: every request carries its id, so that is safe."""
    for _ in range(600):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in AWAY:
                raise
        await asyncio.sleep(0.05)
    raise AssertionError("the service did not come back")


async def write_by_rpc(address: str, count: int, chance: random.Random) -> None:
    """Save `count` runs with their results; change, finish or delete some of them."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub: Any = pb_grpc.RunServiceStub(channel)
        for _ in range(count):
            run_id = new_id(datetime.now(UTC))
            request = pb.SaveRunRequest(
                run=pb.CreateRunRequest(run_id=run_id, name="rpc"),
                results=[a_result(result_id=new_id(datetime.now(UTC))) for _ in range(RESULTS)],
            )
            await persisting(lambda request=request: stub.SaveRun(request))
            if chance.random() < 0.3:
                note = pb.UpdateRunRequest(run_id=run_id, note=str(chance.random()))
                await persisting(lambda request=note: stub.UpdateRun(request))


def write_by_folder(path: Path, count: int, chance: random.Random) -> None:
    """The same by the library, in a thread: another writer of the same folder."""
    folder = Folder(path, durability="relaxed")
    for _ in range(count):
        now = datetime.now(UTC)
        run = RunDocument(new_id(now), "folder", now, now)
        results = [
            ResultDocument(new_id(now), run.id, "Solution1D", {"x": [0]}, now)
            for _ in range(RESULTS)
        ]
        folder.create_run(run, results)
        if chance.random() < 0.2:
            folder.delete_result(results[0].id)


async def watch_with_breaks(
    watcher: Watcher, server: ServerProcess, chance: random.Random, done: Any
) -> None:
    """Watch, leave at random, come back with the token, until `done(watcher)`."""
    while not done(watcher):
        patience = chance.randrange(50, 3_000)

        def enough(it: Watcher, until: int = len(watcher.revisions) + patience) -> bool:
            return len(it.revisions) >= until or bool(done(it))

        try:
            await watcher.watch(server.address, enough)
        except grpc.aio.AioRpcError as error:
            # Stopping, gone, or too slow: resume from the last token.
            if error.code() not in (*AWAY, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise
        await asyncio.sleep(chance.random() * 0.3)


async def begun(watcher: Watcher, address: str) -> None:
    """Start at now, or at what stands there when an index is just made: wait for a token."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub: Any = pb_grpc.RunServiceStub(channel)
        call = stub.WatchRuns(pb.WatchRunsRequest())
        async with asyncio.timeout(60):
            while not watcher.token:
                watcher.take(await call.read())
        call.cancel()


async def total(address: str) -> int:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub: Any = pb_grpc.RunServiceStub(channel)
        size: int = (await stub.ListRuns(pb.ListRunsRequest(page_size=1))).total_size
        return size


@pytest.mark.timeout(240)
async def test_every_watcher_sees_each_revision_once_and_in_order(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    runs = CHANGES // (RESULTS + 1)
    async with a_server(tmp_path) as server:
        await eventually(lambda: _quiet(server), 60)
        watchers = [Watcher() for _ in range(WATCHERS)]
        for watcher in watchers:
            await begun(watcher, server.address)
        last: list[str] = []

        def done(watcher: Watcher) -> bool:
            return bool(last) and (1, last[0]) in watcher.objects

        watching = [
            asyncio.create_task(
                watch_with_breaks(watcher, server, random.Random(chance.random()), done)
            )
            for watcher in watchers
        ]
        writing = [
            asyncio.create_task(
                write_by_rpc(server.address, runs // 4, random.Random(chance.random()))
            )
            for _ in range(2)
        ] + [
            asyncio.create_task(
                asyncio.to_thread(
                    write_by_folder, tmp_path, runs // 4, random.Random(chance.random())
                )
            )
            for _ in range(2)
        ]
        for _ in range(2):
            await asyncio.sleep(1 + chance.random() * 2)
            await server.restart()
        await asyncio.gather(*writing)
        await eventually(lambda: _has(server, runs // 4 * 4), 60)
        async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
            stub: Any = pb_grpc.RunServiceStub(channel)
            last.append((await stub.CreateRun(pb.CreateRunRequest(name="last"))).run.run_id)
        await asyncio.wait_for(asyncio.gather(*watching), 90)
        for watcher in watchers:
            assert watcher.resets == 0
            first, end = watcher.revisions[0], watcher.revisions[-1]
            assert watcher.revisions == list(range(first, end + 1))
        assert len({(each.revisions[0], each.revisions[-1]) for each in watchers}) == 1
        assert len(watchers[0].revisions) > CHANGES * 0.9
        stored = {(1, path.stem) for path in tmp_path.glob("runs/*.json")} | {
            (2, path.stem) for path in tmp_path.glob("results/*.json")
        }
        for watcher in watchers:
            assert watcher.objects.keys() == stored


async def _quiet(server: ServerProcess) -> bool:
    """Whether two watches a moment apart stand in one epoch: the index has been built."""
    watcher = Watcher()
    await begun(watcher, server.address)
    await asyncio.sleep(0.3)
    try:
        await watcher.watch(server.address, lambda it: True)
    except grpc.aio.AioRpcError:
        return False
    return watcher.resets == 0


async def _has(server: ServerProcess, count: int) -> bool:
    return await total(server.address) >= count


@pytest.mark.timeout(120)
async def test_when_the_index_is_thrown_away_all_are_reset_and_end_in_the_true_state(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path, durability="relaxed")
    chance = random.Random(7)
    await asyncio.to_thread(write_by_folder, tmp_path, 8, chance)
    async with a_service(tmp_path) as service:
        address = service.service.address
        watchers = [Watcher() for _ in range(5)]
        tasks = [
            asyncio.create_task(watcher.watch(address, lambda it: False)) for watcher in watchers
        ]
        await eventually(lambda: all(each.snapshots for each in watchers), 60)
        before = [each.resets for each in watchers]
        shutil.rmtree(tmp_path / ".asgard")
        # What changes meanwhile was logged nowhere that they could have resumed from.
        await asyncio.to_thread(write_by_folder, tmp_path, 4, chance)
        gone = next(folder.run_ids_newest_first())
        await asyncio.to_thread(folder.delete_run, gone)

        def true_state() -> bool:
            stored = {(1, path.stem) for path in tmp_path.glob("runs/*.json")} | {
                (2, path.stem) for path in tmp_path.glob("results/*.json")
            }
            return all(
                each.resets > was and each.objects.keys() == stored
                for each, was in zip(watchers, before, strict=True)
            )

        await eventually(true_state, 60)
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    async with a_server(tmp_path) as server:
        await eventually(lambda: _quiet(server), 60)
        watcher = Watcher()
        await begun(watcher, server.address)

        async def write(channel: grpc.aio.Channel) -> None:
            stub: Any = pb_grpc.RunServiceStub(channel)
            while True:
                answer = await stub.CreateRun(pb.CreateRunRequest(name="r"))
                acknowledged.add(answer.run.run_id)

        for _ in range(3):
            channel = grpc.aio.insecure_channel(server.address, options=OPTIONS)
            already = len(acknowledged)
            writers = [asyncio.create_task(write(channel)) for _ in range(8)]
            await eventually(lambda least=already + 60: len(acknowledged) > least, 60)
            await server.end(signal.SIGKILL)
            ended = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(error, grpc.aio.AioRpcError) for error in ended)
            await channel.close()
            await server.start()
        async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
            stub: Any = pb_grpc.RunServiceStub(channel)
            listed, token = set(), ""
            while True:
                page = await stub.ListRuns(pb.ListRunsRequest(page_size=1_000, page_token=token))
                listed |= {run.run_id for run in page.runs}
                token = page.next_page_token
                if not token:
                    break
        assert acknowledged <= listed
        # Nor has anybody who watched missed one of them, or a revision.
        told = asyncio.create_task(watcher.watch(server.address, lambda it: False))
        await eventually(
            lambda: acknowledged <= {object_id for _, object_id in watcher.objects}, 20
        )
        told.cancel()
        await asyncio.gather(told, return_exceptions=True)
        assert watcher.resets == 0
        first = watcher.revisions[0]
        assert watcher.revisions == list(range(first, first + len(watcher.revisions)))
