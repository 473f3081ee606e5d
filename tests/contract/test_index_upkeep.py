"""How every `RunIndex` is made, compared with a listing and rebuilt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.run.store import Entry, Key, Kind
from gimle.asgard.core.errors import StorageUnavailableError

from tests.contract.index_places import NOW, Shelf, a_result, a_run, open_index

ENGINES = ["sqlite", "postgres"]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(params=ENGINES)
async def index(request: pytest.FixtureRequest, shelf: Shelf, tmp_path: Path) -> AsyncIterator[Any]:
    async with open_index(request.param, shelf, tmp_path) as opened:
        yield opened


def listings(shelf: Shelf) -> list[tuple[Kind, Iterable[Entry]]]:
    return [("result", shelf.listing("result")), ("run", shelf.listing("run"))]


async def test_a_new_index_is_building_until_it_knows_all_documents(
    index: Any, shelf: Shelf
) -> None:
    for n in range(30):
        shelf.put(a_run(f"r{n:02}", results=(f"x{n:02}",), name=f"the number {n}"))
        shelf.put(a_result(f"x{n:02}", f"r{n:02}"))
    assert await index.building()
    epoch, _ = await index.head()
    assert await index.rebuild(listings(shelf)) == 60
    assert not await index.building()
    after, revision = await index.head()
    assert after != epoch, "whoever watched was told nothing, so all must begin again"
    assert (revision, await index.changes(0, 10)) == (0, [])
    rows, total = await index.list_runs("number", None, 100)
    assert (len(rows), total) == (30, 30)
    assert {row.result_count for row in rows} == {1}
    assert (await index.list_runs("", None, 5))[1] == 30


async def test_a_rebuilt_index_equals_one_that_observed_everything(
    index: Any, shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with open_index("sqlite", shelf, tmp_path / "other") as other:
        keys = []
        for n in range(40):
            shelf.now += timedelta(seconds=1)
            keys.append(shelf.put(a_run(f"r{n}", created_at=NOW - timedelta(milliseconds=n // 5))))
            keys += [
                shelf.put(a_result(f"x{n}-{k}", f"r{n}", display={"n": n})) for k in range(n % 3)
            ]
        shelf.put(a_run("far", created_at=NOW + timedelta(days=9)))
        await other.observe([*keys, Key("run", "far")])
        shelf.now += timedelta(days=1)
        await index.rebuild(listings(shelf))
        assert await index.list_runs("", None, 100) == await other.list_runs("", None, 100)
        assert await index.walk("result", "", 100) == await other.walk("result", "", 100)


async def test_what_was_observed_while_building_is_kept_and_counted_once(
    index: Any, shelf: Shelf
) -> None:
    for n in range(10):
        shelf.put(a_run(f"r{n}"))
    shelf.put(a_result("x1", "r3"))
    assert await index.observe([Key("run", "r3"), Key("run", "r4"), Key("result", "x1")]) == 3
    await index.rebuild(listings(shelf))
    assert (await index.list_runs("", None, 100))[1] == 10
    assert (await index.run("r3")).result_count == 1
    assert (await index.list_runs("run", None, 100))[1] == 10


async def test_a_forgotten_index_is_made_anew_from_the_documents_alone(
    index: Any, shelf: Shelf
) -> None:
    for n in range(5):
        shelf.put(a_run(f"r{n}", results=(f"x{n}",)))
        shelf.put(a_result(f"x{n}", f"r{n}"))
    await index.rebuild(listings(shelf))
    # What it got wrong, and no comparison of stamps would find.
    shelf.documents[Key("run", "r9")] = shelf.documents.pop(Key("run", "r3"))
    before = await index.head()
    await index.forget()
    assert await index.building()
    assert (await index.list_runs("", None, 10))[1] == 0
    assert await index.rebuild(listings(shelf)) == 10
    assert not await index.building()
    runs, total = await index.list_runs("", None, 10)
    assert (sorted(row.run.id for row in runs), total) == (["r0", "r1", "r2", "r4", "r9"], 5)
    epoch, revision = await index.head()
    assert epoch != before[0]
    assert await index.changes(revision, 10) == []
    shelf.put(a_run("r5"))
    assert await index.observe([Key("run", "r5")]) == revision + 1
    assert [change.key.id for change in await index.changes(revision, 10)] == ["r5"]


async def test_a_build_broken_off_is_taken_up_again(index: Any, shelf: Shelf) -> None:
    for n in range(10):
        shelf.put(a_run(f"r{n}"))
        shelf.put(a_result(f"x{n}", f"r{n}"))

    def breaks_off() -> Iterator[Entry]:
        yield from list(shelf.listing("run"))[:5]
        raise StorageUnavailableError("the shelf", "bring it back")

    with pytest.raises(StorageUnavailableError):
        await index.rebuild([("run", shelf.listing("run")), ("run", breaks_off())])
    assert await index.building()
    await index.rebuild(listings(shelf))
    assert not await index.building()
    rows, total = await index.list_runs("run", None, 100)
    assert total == 10
    assert {row.result_count for row in rows} == {1}


async def test_a_rebuild_passes_over_unreadable_documents(index: Any, shelf: Shelf) -> None:
    shelf.put(a_run("good"))
    shelf.put_bytes(Key("run", "bad"), b"[]")
    await index.rebuild(listings(shelf))
    assert [row.run.id for row in (await index.list_runs("", None, 9))[0]] == ["good"]


async def test_a_comparison_names_what_is_new_changed_or_gone(index: Any, shelf: Shelf) -> None:
    for run in ("same", "touched", "gone"):
        await index.observe([shelf.put(a_run(run))])
    shelf.now += timedelta(seconds=1)
    started = shelf.now
    shelf.put(a_run("new"))
    shelf.put(a_run("touched", name="changed"))
    shelf.remove(Key("run", "gone"))
    found = await index.compare("run", shelf.listing("run"), started)
    assert sorted(found) == [Key("run", "gone"), Key("run", "new"), Key("run", "touched")]
    await index.observe(found)
    assert await index.compare("run", shelf.listing("run"), started) == []
    assert await index.compare("result", shelf.listing("result"), started) == []


async def test_the_same_bytes_rewritten_are_looked_at_once_and_logged_never(
    index: Any, shelf: Shelf
) -> None:
    await index.observe([shelf.put(a_run("r1"))])
    shelf.touch(Key("run", "r1"))
    found = await index.compare("run", shelf.listing("run"), shelf.now)
    assert found == [Key("run", "r1")]
    assert await index.observe(found) == 1
    assert await index.compare("run", shelf.listing("run"), shelf.now) == []


async def test_a_listing_that_breaks_off_says_nothing_of_what_is_missing(
    index: Any, shelf: Shelf
) -> None:
    for n in range(5):
        await index.observe([shelf.put(a_run(f"r{n}"))])
    shelf.now += timedelta(hours=1)

    def half() -> Iterator[Entry]:
        yield from list(shelf.listing("run"))[:2]
        raise StorageUnavailableError("the shelf", "bring it back")

    with pytest.raises(StorageUnavailableError):
        await index.compare("run", half(), shelf.now)
    assert (await index.list_runs("", None, 9))[1] == 5


async def test_a_row_younger_than_the_listing_is_not_called_gone(index: Any, shelf: Shelf) -> None:
    started = shelf.now
    await index.observe([shelf.put(a_run("late"))])
    assert await index.compare("run", [], started) == []
    assert await index.compare("run", [], started + timedelta(seconds=1)) == [Key("run", "late")]


async def test_a_deletion_is_believed_although_the_clock_went_back(
    index: Any, shelf: Shelf
) -> None:
    await index.observe([shelf.put(a_run("old"))])
    shelf.now -= timedelta(hours=2)
    shelf.remove(Key("run", "old"))
    assert await index.compare("run", shelf.listing("run"), shelf.now) == [Key("run", "old")]


async def test_a_missing_name_is_gone_only_if_the_document_is(index: Any, shelf: Shelf) -> None:
    head = await index.observe([shelf.put(a_run("r1"))])
    found = await index.compare("run", [], shelf.now + timedelta(seconds=1))
    assert await index.observe(found) == head, "a wrong listing deletes nothing"
    assert await index.run("r1") is not None


async def test_an_unreadable_document_is_named_again_only_when_it_changes(
    index: Any, shelf: Shelf
) -> None:
    broken = Key("run", "broken")
    shelf.put_bytes(broken, b"{")
    assert await index.compare("run", shelf.listing("run"), shelf.now) == [broken]
    await index.observe([broken])
    assert await index.compare("run", shelf.listing("run"), shelf.now) == []
    shelf.put_bytes(broken, b"{{")
    assert await index.compare("run", shelf.listing("run"), shelf.now) == [broken]
    shelf.remove(broken)
    assert await index.compare("run", shelf.listing("run"), shelf.now) == [broken]
    assert await index.observe([broken]) == 0
    assert await index.compare("run", shelf.listing("run"), shelf.now) == []


async def test_only_documents_with_another_stamp_are_stale(index: Any, shelf: Shelf) -> None:
    known, changed, new = (shelf.put(a_run(run)) for run in ("known", "changed", "new"))
    await index.observe([known, changed])
    shelf.touch(changed)
    assert await index.stale([known, changed, new, Key("run", "nobody")]) == [changed, new]


async def test_a_large_document_is_indexed_like_a_small_one(index: Any, shelf: Shelf) -> None:
    many = tuple(f"x{n:06}" for n in range(50_000))
    data = {"computed": [0.125 * n for n in range(200_000)], "huge": 2**80}
    await index.observe(
        [shelf.put(a_run("r1", results=many)), shelf.put(a_result("x1", "r1", data=data))]
    )
    row = await index.run("r1")
    assert (row.run.results, row.run.name, row.result_count) == ((), "run r1", 1)
    assert (await index.result("x1")).result_type == "Solution1D"
