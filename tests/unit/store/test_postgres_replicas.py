"""The index in PostgreSQL under several replicas: dense, in order, never back in time."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from asgard_server.run.store import Change, Found, Key, RunRow
from asgard_server.store.postgres import PostgresRunIndex
from gimle.asgard.core.errors import StorageUnavailableError

from tests.contract.index_places import Shelf, a_result, a_run
from tests.engines import postgres


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@asynccontextmanager
async def replica(
    shelf: Shelf,
    folder: Path,
    read: Callable[[Key], Awaitable[Found | None]] | None = None,
) -> AsyncIterator[PostgresRunIndex]:
    async def far(key: Key) -> Found | None:
        found = shelf.read(key)
        await asyncio.sleep(random.random() / 200)  # as far away as an object store
        return found

    index = await PostgresRunIndex.open(
        await postgres.database_of(folder),
        read or far,
        storage_id="s1",
        clock=lambda: shelf.now,
        connections=4,
    )
    try:
        yield index
    finally:
        await index.close()


async def follow(index: PostgresRunIndex, until: int) -> list[Change]:
    seen: list[Change] = []
    while len(seen) < until:
        seen += await index.changes(len(seen), 100)
        await asyncio.sleep(0.002)
    return seen


async def test_two_replicas_with_32_writers_leave_no_gap_and_double_nothing(
    shelf: Shelf, tmp_path: Path
) -> None:
    async with replica(shelf, tmp_path) as one, replica(shelf, tmp_path) as other:
        readers = [asyncio.create_task(follow(index, 1_280)) for index in (one, other)]

        async def write(writer: int) -> None:
            index = (one, other)[writer % 2]
            for n in range(40):
                key = shelf.put(a_result(f"x{writer}-{n}", f"r{n % 3}"))
                head = await index.observe([key])
                told = await index.changes(max(0, head - 200), 200)
                assert key in {change.key for change in told if change.revision <= head}

        await asyncio.gather(*map(write, range(32)))
        first, second = await asyncio.gather(*readers)
        assert first == second
        assert [change.revision for change in first] == list(range(1, 1_281))
        assert len({change.key for change in first}) == 1_280
        await one.observe([shelf.put(a_run(f"r{n}")) for n in range(3)])
        rows = await other.walk("run", "", 10)
        assert sum(row.result_count for row in rows if isinstance(row, RunRow)) == 1_280


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("gone", [False, True])
async def test_who_reads_a_document_first_also_writes_first(
    shelf: Shelf, tmp_path: Path, known: bool, gone: bool
) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow(key: Key) -> Found | None:
        found = shelf.read(key)
        reading.set()
        await go_on.wait()
        return found

    async with (
        replica(shelf, tmp_path, read=slow) as one,
        replica(shelf, tmp_path) as other,
    ):
        if known:
            await other.observe([shelf.put(a_run("r1", name="first"))])
        key = shelf.put(a_run("r1", name="old"))
        early = asyncio.create_task(one.observe([key]))
        await reading.wait()
        if gone:
            shelf.remove(key)
        else:
            shelf.put(a_run("r1", name="new"))
        late = asyncio.create_task(other.observe([key]))
        await asyncio.wait([late], timeout=0.2)
        waited = not late.done()
        go_on.set()
        assert waited
        assert await early < await late
        row = await other.run("r1")
        assert (row.run.name if row else None) == (None if gone else "new")


async def test_counts_are_right_when_runs_and_results_come_and_go_together(
    shelf: Shelf, tmp_path: Path
) -> None:
    async with replica(shelf, tmp_path) as one, replica(shelf, tmp_path) as other:
        for _ in range(8):
            keys = [shelf.put(a_run(f"r{n}")) for n in range(4)]
            keys += [shelf.put(a_result(f"x{n}", f"r{random.randrange(4)}")) for n in range(30)]
            random.shuffle(keys)
            await asyncio.gather(
                *((one, other)[n % 2].observe(keys[n::6] + keys[:2]) for n in range(6))
            )
            for key in random.sample(keys, 9):
                shelf.remove(key)
            await asyncio.gather(one.observe(keys), other.observe(list(reversed(keys))))
            for row in await one.walk("run", "", 10):
                assert isinstance(row, RunRow)
                assert row.result_count == len(await one.result_ids(row.run.id))
            assert (await one.list_runs("", None, 9))[1] == len(await one.walk("run", "", 9))


async def test_the_head_of_the_log_is_held_for_no_round_trip(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    original = asyncpg.Connection.execute

    async def execute(self: asyncpg.Connection, sql: str, *args: object, **more: float) -> str:
        sent.append(sql)
        return await original(self, sql, *args, **more)

    monkeypatch.setattr(asyncpg.Connection, "execute", execute)
    async with replica(shelf, tmp_path) as index:
        await index.observe([shelf.put(a_run("r1"))])
    heads = [sql for sql in sent if "UPDATE asgard.run_log_head SET revision" in sql]
    assert len(heads) == 1
    assert heads[0].rstrip().endswith("COMMIT")


async def test_acknowledged_changes_survive_a_crash_of_the_server_and_writes_go_on(
    shelf: Shelf, tmp_path: Path
) -> None:
    server = postgres.server()
    async with replica(shelf, tmp_path) as index:
        acknowledged: list[Key] = []
        refused = 0

        async def write(writer: int) -> None:
            nonlocal refused
            for n in range(60):
                key = shelf.put(a_run(f"r{writer}-{n}"))
                while True:
                    try:
                        await index.observe([key])
                        break
                    except StorageUnavailableError:
                        refused += 1
                        await asyncio.sleep(0.05)
                acknowledged.append(key)

        writers = asyncio.gather(*map(write, range(4)))
        await asyncio.sleep(random.random() / 4)
        stopped = time.monotonic()
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.start)
        away = time.monotonic() - stopped
        await asyncio.wait_for(writers, 60)
        changes = await index.changes(0, 1_000)
        assert [change.revision for change in changes] == list(range(1, 241))
        assert {change.key for change in changes} == set(acknowledged)
        # While it is away and for a moment after, each of four is refused once in 50 ms.
        assert refused < 4 * (away + 2) / 0.05


async def test_a_caller_who_leaves_spoils_nothing_for_others(shelf: Shelf, tmp_path: Path) -> None:
    async with replica(shelf, tmp_path) as index:
        waiting = [
            asyncio.create_task(index.observe([shelf.put(a_run(f"r{n}"))])) for n in range(20)
        ]
        await asyncio.sleep(0.001)
        for task in waiting[::2]:
            task.cancel()
        for task in waiting[::2]:
            with suppress(asyncio.CancelledError):
                await task
        assert len(await asyncio.gather(*waiting[1::2])) == 10
        assert await index.run("r1") is not None
