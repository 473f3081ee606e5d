"""What every `Ledger` promises to those who write where there are neither locks nor commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgard_server.run.ledger import Deletion, Write
from asgard_server.run.store import Key
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.postgres_ledger import PostgresLedger
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.store.sqlite_ledger import SqliteLedger
from asgard_server.store.written import Written

from tests.contract.index_places import Shelf, a_result, a_run
from tests.engines import postgres


class Desk:
    """The ledger of one storage, opened by any number of replicas, and its index."""

    def __init__(self, engine: str, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._opened: list[Any] = []

    async def ledger(self) -> Any:
        """One replica's."""
        opened: Any
        if self._engine == "sqlite":
            opened = await SqliteLedger.open(self._folder / "index.sqlite3", storage_id="s1")
        else:
            dsn = await postgres.database_of(self._folder)
            opened = await PostgresLedger.open(dsn, replica=f"replica-{len(self._opened)}")
        self._opened.append(opened)
        return opened

    async def index(self, shelf: Shelf, written: Written) -> Any:
        """An index that ends writes."""
        opened: Any
        if self._engine == "sqlite":
            opened = await SqliteRunIndex.open(
                self._folder / "index.sqlite3", shelf.read, storage_id="s1", written=written
            )
        else:

            async def read(key: Key) -> Any:
                return shelf.read(key)

            dsn = await postgres.database_of(self._folder)
            opened = await PostgresRunIndex.open(dsn, read, storage_id="s1", written=written)
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        """Close all that was opened."""
        for one in self._opened:
            await one.close()
        if self._engine == "postgres":
            postgres.give_back(self._folder)


@pytest.fixture(params=["sqlite", "postgres"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    opened = Desk(request.param, tmp_path)
    yield opened
    await opened.close()


def a_write(result_id: str, run_id: str = "r1", **fields: Any) -> Write:
    return Write(uuid4().hex, Key("result", result_id), run_id, **fields)


async def test_what_one_replica_has_begun_another_finds(desk: Desk) -> None:
    one, other = await desk.ledger(), await desk.ledger()
    writes = [a_write("x1", files=("x1_a.npy", "x1_b.npy")), a_write("x2", "r2", lists=True)]
    assert await one.begin(writes) == frozenset()
    assert sorted(await other.begun(0)) == sorted(writes)
    assert await other.begun(0, "r2") == writes[1:]
    assert await other.begun(60) == []
    assert await other.unlisted(0) == []
    await other.end([writes[0].token])
    assert await one.begun(0) == writes[1:]


async def test_a_write_that_is_begun_again_is_young_again(desk: Desk) -> None:
    ledger = await desk.ledger()
    write = a_write("x1")
    await ledger.begin([write])
    await asyncio.sleep(2)
    assert await ledger.begun(1.5) == [write]
    longer = write._replace(files=("x1_more.npy",))
    await ledger.begin([longer])
    assert await ledger.begun(1.5) == []
    assert await ledger.begun(0) == [longer]


async def test_many_who_begin_at_once_are_each_told_of_their_own(desk: Desk) -> None:
    ledger = await desk.ledger()
    await ledger.mark(Deletion(Key("run", "r3"), "r3", ("x1",)))
    writes = [a_write(f"x{n}", f"r{n % 5}") for n in range(100)]
    gone = await asyncio.gather(*(ledger.begin([write]) for write in writes))
    expected = [frozenset([Key("run", "r3")]) if n % 5 == 3 else frozenset() for n in range(100)]
    assert gone == expected
    assert len(await ledger.begun(0)) == 100


async def test_of_a_deletion_and_a_write_one_finds_the_other(desk: Desk) -> None:
    one, other = await desk.ledger(), await desk.ledger()
    for n in range(30):
        write = a_write(f"x{n}", f"r{n}")
        deletion = Deletion(Key("run", f"r{n}"), f"r{n}")

        async def delete(deletion: Deletion = deletion) -> list[Write]:
            await other.mark(deletion)
            found: list[Write] = await other.begun(0, deletion.run_id)
            return found

        refused, found = await asyncio.gather(one.begin([write]), delete())
        assert refused or found


async def test_a_deletion_is_there_until_it_is_done_and_its_run_stays_refused(desk: Desk) -> None:
    ledger = await desk.ledger()
    run = Deletion(Key("run", "r1"), "r1", ("x1", "x2"), ("x1_a.npy",))
    result = Deletion(Key("result", "x9"), "r9", ("x9",))
    for deletion in (run, result):
        await ledger.mark(deletion)
    assert sorted(await ledger.marked(0)) == sorted([run, result])
    assert await ledger.marked(0, result.key) == [result]
    assert await ledger.marked(60) == []
    assert await ledger.begin([a_write("x9", "r9")]) == {result.key}
    more = run._replace(files=("x1_a.npy", "x2_b.npy"))
    await ledger.mark(more)
    assert await ledger.marked(0, run.key) == [more]
    for deletion in (run, result):
        await ledger.unmark(deletion.key)
    assert await ledger.marked(0) == []
    assert await ledger.begin([a_write("x3", "r1")]) == {run.key}
    assert await ledger.begin([a_write("x9", "r9")]) == {result.key}


async def test_the_id_of_what_never_was_is_free_again(desk: Desk) -> None:
    ledger = await desk.ledger()
    never = Deletion(Key("result", "x1"), "r1", (), ("x1_a.npy",))
    await ledger.mark(never)
    assert await ledger.begin([a_write("x1")]) == {never.key}
    await ledger.unmark(never.key, free=True)
    assert await ledger.begin([a_write("x1")]) == frozenset()


@pytest.mark.parametrize("desk", ["postgres"], indirect=True)
async def test_who_dies_as_he_frees_an_id_leaves_it_free(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, other = await desk.ledger(), await desk.ledger()
    never = Deletion(Key("result", "x1"), "r1", (), ("x1_a.npy",))
    await other.mark(never)
    execute = dying._execute

    async def once(*said: Any) -> None:
        await execute(*said)
        raise asyncio.CancelledError

    monkeypatch.setattr(dying, "_execute", once)
    with suppress(asyncio.CancelledError):
        await dying.unmark(never.key, free=True)
    assert await other.begin([a_write("x1")]) == frozenset()


async def test_only_a_write_that_nobody_has_ended_is_alive(desk: Desk) -> None:
    ledger = await desk.ledger()
    one, other = a_write("x1"), a_write("x2")
    await ledger.begin([one, other])
    await ledger.end([other.token])
    await asyncio.sleep(2)
    await ledger.alive([one.token, other.token])
    assert await ledger.begun(1.5) == []
    assert await ledger.begun(0) == [one]


async def test_what_may_still_arrive_is_kept_apart_until_it_is_ended(desk: Desk) -> None:
    ledger, other = await desk.ledger(), await desk.ledger()
    write = a_write("x1", lists=True)
    await ledger.begin([write])
    await ledger.stray([write, a_write("x1"), a_write("x2", "r2")])
    await ledger.stray([write])  # said again, it is still one
    assert await other.begun(0) == [write]
    assert await other.unlisted(0) == []
    found = await other.strays(0)
    assert {one.key.id for one in found} == {"x1", "x2"}
    assert len(found) == 2
    assert [one.key.id for one in await other.strays(0, "r2")] == ["x2"]
    assert await other.strays(60) == []
    await other.end([one.token for one in found])
    assert await ledger.strays(0) == []
    assert await ledger.begun(0) == [write]


async def test_a_lock_is_held_by_one_and_free_behind_him(desk: Desk) -> None:
    one, other = await desk.ledger(), await desk.ledger()
    async with one.held("sweep") as first, other.held("sweep") as second:
        assert (first, second) == (True, False)
        async with one.held("sweep") as again, other.held("another") as third:
            assert (again, third) == (False, True)
    async with other.held("sweep") as free:
        assert free
    with pytest.raises(RuntimeError):
        async with one.held("sweep"):
            raise RuntimeError
    async with other.held("sweep") as free:
        assert free


async def test_a_lock_goes_with_its_holder(desk: Desk) -> None:
    one, other = await desk.ledger(), await desk.ledger()
    held = one.held("sweep")
    assert await held.__aenter__()
    async with other.held("sweep") as ours:
        assert not ours
    await held.__aexit__(None, None, None)
    async with other.held("sweep") as ours:
        assert ours


async def test_the_index_ends_a_write_with_the_row_it_writes(desk: Desk) -> None:
    ledger = await desk.ledger()
    shelf, written = Shelf(), Written()
    index = await desk.index(shelf, written)
    write = Write(uuid4().hex, shelf.put(a_run("r1")), "r1")
    new = Write(uuid4().hex, shelf.put(a_result("x1", "r1")), "r1", lists=True)
    lost = a_write("never", lists=True)
    await ledger.begin([write, new, lost])
    for one in (write, new, lost):
        written.note(one, None, shelf.documents.get(one.key))
    shelf.unavailable = True  # the notes say all there is to know, but of what is not there
    await index.observe([write.key, new.key])
    shelf.unavailable = False
    await index.observe([lost.key])
    assert await ledger.begun(0) == []
    assert await ledger.unlisted(0) == [new]
    assert await ledger.unlisted(0, "r2") == []
    assert (await index.head())[1] == 2
    assert written.of([write.key, new.key, lost.key]) == {}


async def test_a_document_written_by_others_in_between_is_read(desk: Desk) -> None:
    await desk.ledger()
    shelf, written = Shelf(), Written()
    index = await desk.index(shelf, written)
    key = shelf.put(a_run("r1", name="first"))
    await index.observe([key])
    first = shelf.documents[key]
    shelf.put(a_run("r1", name="ours"))
    written.note(Write(uuid4().hex, key, "r1"), first.stamp, shelf.documents[key])
    shelf.put(a_run("r1", name="theirs"))
    stolen = written.of([key])[key]
    written.settled(stolen)
    await index.observe([key])  # as their replica does, which has no note
    for note in stolen:
        written.note(note.write, note.replaced, note.found)
    await index.observe([key])
    assert (await index.run("r1")).run.name == "theirs"
    assert (await index.head())[1] == 2


async def test_a_crash_before_the_commit_leaves_the_write_to_others(desk: Desk) -> None:
    ledger = await desk.ledger()
    shelf, written = Shelf(), Written()
    index = await desk.index(shelf, written)
    write = Write(uuid4().hex, shelf.put(a_run("r1")), "r1")
    await ledger.begin([write])
    written.note(write, "another stamp", shelf.documents[write.key])
    shelf.poisoned = write.key
    with pytest.raises(OSError, match="bring it back"):
        await index.observe([write.key])
    assert await ledger.begun(0) == [write]
    shelf.poisoned = None
    await index.observe([write.key])
    assert await ledger.begun(0) == []


async def test_what_was_begun_is_known_after_the_index_was_made_anew(desk: Desk) -> None:
    ledger = await desk.ledger()
    index = await desk.index(Shelf(), Written())
    write = Write(uuid4().hex, Key("result", "x"), "r", ("x_a.npy",))
    deletion = Deletion(Key("run", "gone"), "gone", ("y",), ("y_a.npy",))
    await ledger.begin([write])
    await ledger.mark(deletion)
    await index.forget()
    assert await index.building()
    assert await ledger.begun(0) == [write]
    assert await ledger.marked(0) == [deletion]
