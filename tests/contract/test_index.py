"""What every `RunIndex` promises, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.run.store import Change, Key, Position, RunIndex
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


async def observed(index: RunIndex, shelf: Shelf, *documents: object) -> int:
    keys = [shelf.put(document) for document in documents]
    return await index.observe(keys)


async def test_a_new_document_gets_a_row_and_the_next_revision(index: Any, shelf: Shelf) -> None:
    _, before = await index.head()
    head = await observed(index, shelf, a_run("r1", name="Heat"), a_result("x1", "r1"))
    assert head == before + 2
    assert await index.changes(before, 10) == [
        Change(before + 1, Key("run", "r1"), "r1", False),
        Change(before + 2, Key("result", "x1"), "r1", False),
    ]
    row = await index.run("r1")
    assert row is not None
    assert row.run.name == "Heat"
    assert row.result_count == 1
    result = await index.result("x1")
    assert result is not None
    assert (result.run_id, result.result_type) == ("r1", "Solution1D")


async def test_an_unchanged_document_logs_nothing(index: Any, shelf: Shelf) -> None:
    head = await observed(index, shelf, a_run("r1"))
    assert await index.observe([Key("run", "r1")]) == head
    shelf.touch(Key("run", "r1"))
    assert await index.observe([Key("run", "r1"), Key("run", "r1")]) == head


async def test_a_changed_document_is_logged_once_and_its_etag_moves(
    index: Any, shelf: Shelf
) -> None:
    await observed(index, shelf, a_run("r1", name="first"))
    before = await index.run("r1")
    head = await observed(index, shelf, a_run("r1", name="second"), a_run("r1", name="third"))
    after = await index.run("r1")
    assert after.run.name == "third"
    assert after.etag != before.etag
    assert [change.revision for change in await index.changes(1, 10)] == [2] == [head]


async def test_revisions_are_dense_when_many_observe_at_once(index: Any, shelf: Shelf) -> None:
    keys = [shelf.put(a_run(f"r{n}")) for n in range(300)]
    heads = await asyncio.gather(*(index.observe([key]) for key in keys for _ in range(2)))
    assert max(heads) == 300
    changes = await index.changes(0, 1_000)
    assert [change.revision for change in changes] == list(range(1, 301))
    assert {change.key for change in changes} == set(keys)
    for key, head in zip(keys, heads[::2], strict=True):
        known = {change.key for change in changes if change.revision <= head}
        assert key in known, "an acknowledged change has a revision at or below its answer"


async def test_pages_of_changes_join_without_gap(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, *(a_run(f"r{n}") for n in range(7)))
    first = await index.changes(0, 4)
    assert [c.revision for c in first + await index.changes(4, 4)] == [1, 2, 3, 4, 5, 6, 7]
    assert await index.changes(7, 4) == []


async def test_a_deleted_run_takes_its_deleted_results_along_and_leaves_a_tombstone(
    index: Any, shelf: Shelf
) -> None:
    head = await observed(index, shelf, a_run("r1"), a_result("x1", "r1"), a_result("x2", "r1"))
    for key in [Key("run", "r1"), Key("result", "x1"), Key("result", "x2")]:
        shelf.remove(key)
    assert await index.observe([Key("run", "r1")]) == head + 3
    gone = await index.changes(head, 10)
    assert {(change.key, change.run_id) for change in gone} == {
        (Key("run", "r1"), "r1"),
        (Key("result", "x1"), "r1"),
        (Key("result", "x2"), "r1"),
    }
    assert all(change.gone for change in gone)
    assert await index.run("r1") is None
    assert await index.result_ids("r1") == []
    assert await index.tombstone(Key("run", "r1")) == NOW
    assert await index.tombstone(Key("result", "x2")) == NOW
    assert await index.tombstone(Key("run", "never")) is None


async def test_a_result_of_a_deleted_run_stays_while_its_document_is_there(
    index: Any, shelf: Shelf
) -> None:
    await observed(index, shelf, a_run("r1"), a_result("x1", "r1"))
    shelf.remove(Key("run", "r1"))
    await index.observe([Key("run", "r1")])
    assert await index.result("x1") is not None
    assert await index.tombstone(Key("result", "x1")) is None


async def test_a_tombstone_is_forgotten_after_thirty_days(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, a_run("r1"))
    shelf.remove(Key("run", "r1"))
    await index.observe([Key("run", "r1")])
    shelf.now += timedelta(days=29)
    assert await index.tombstone(Key("run", "r1")) == NOW
    shelf.now += timedelta(days=2)
    assert await index.tombstone(Key("run", "r1")) is None


async def test_a_document_that_comes_back_has_no_tombstone(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, a_run("r1"))
    shelf.remove(Key("run", "r1"))
    await index.observe([Key("run", "r1")])
    await observed(index, shelf, a_run("r1"))
    assert await index.tombstone(Key("run", "r1")) is None
    assert (await index.run("r1")) is not None


async def test_what_was_never_there_is_not_logged_as_gone(index: Any) -> None:
    assert await index.observe([Key("run", "ghost"), Key("result", "ghost")]) == 0
    assert await index.changes(0, 10) == []


async def test_results_may_come_before_their_run(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, a_result("x1", "r1"), a_result("x2", "r1"))
    await observed(index, shelf, a_run("r1"))
    assert (await index.run("r1")).result_count == 2


async def test_result_counts_follow_results(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, a_run("r1"), a_run("r2"))
    await observed(index, shelf, a_result("x1", "r1"), a_result("x2", "r1"))
    await observed(index, shelf, a_result("x1", "r1", display={"title": "again"}))
    assert (await index.run("r1")).result_count == 2
    await observed(index, shelf, a_result("x2", "r2"))
    assert [(await index.run(r)).result_count for r in ("r1", "r2")] == [1, 1]
    shelf.remove(Key("result", "x2"))
    await index.observe([Key("result", "x2")])
    assert [(await index.run(r)).result_count for r in ("r1", "r2")] == [1, 0]


async def test_a_run_has_changed_when_its_newest_document_was_written(
    index: Any, shelf: Shelf
) -> None:
    shelf.now += timedelta(seconds=10)
    await observed(index, shelf, a_run("r1"))
    assert (await index.run("r1")).changed_at == NOW + timedelta(seconds=10)
    shelf.now += timedelta(seconds=10)
    await observed(index, shelf, a_result("x1", "r1"))
    assert (await index.run("r1")).changed_at == NOW + timedelta(seconds=20)


async def test_rows_hold_neither_result_ids_nor_data(index: Any, shelf: Shelf) -> None:
    ids = tuple(f"x{n}" for n in range(3))
    many = tuple(f"y{n}" for n in range(100))
    await observed(index, shelf, a_run("few", results=ids), a_run("many", results=many))
    assert (await index.run("few")).run.results == ()
    assert (await index.run("many")).run.results == ()


async def test_a_broken_document_disturbs_nobody_and_is_read_when_mended(
    index: Any, shelf: Shelf
) -> None:
    good, broken = shelf.put(a_run("good")), Key("run", "broken")
    shelf.put_bytes(broken, b'{"id": "broken", "name": ')
    shelf.put_bytes(Key("result", "orphan"), b'{"id": "orphan"}')
    assert await index.observe([broken, Key("result", "orphan"), good]) == 1
    assert await index.run("broken") is None
    assert await index.run("good") is not None
    await observed(index, shelf, a_run("broken", name="mended"))
    assert (await index.run("broken")).run.name == "mended"


async def test_a_document_that_breaks_keeps_its_last_readable_row(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, a_run("r1", name="whole"))
    shelf.put_bytes(Key("run", "r1"), b"{")
    assert await index.observe([Key("run", "r1")]) == 1
    assert (await index.run("r1")).run.name == "whole"


async def test_nothing_is_believed_while_the_place_is_gone(index: Any, shelf: Shelf) -> None:
    head = await observed(index, shelf, a_run("r1"))
    shelf.unavailable = True
    with pytest.raises(StorageUnavailableError):
        await index.observe([Key("run", "r1")])
    shelf.unavailable = False
    assert await index.head() == (ANY_EPOCH, head)
    assert await index.run("r1") is not None


async def test_one_failing_observation_does_not_fail_its_neighbours(
    index: Any, shelf: Shelf
) -> None:
    keys = [shelf.put(a_run(f"r{n}")) for n in range(20)]
    shelf.poisoned = keys[7]
    answers = await asyncio.gather(*(index.observe([key]) for key in keys), return_exceptions=True)
    failed = [key for key, answer in zip(keys, answers, strict=True) if not isinstance(answer, int)]
    assert failed == [keys[7]]
    assert [c.revision for c in await index.changes(0, 100)] == list(range(1, 20))


async def test_a_time_far_ahead_is_ordered_and_shown_as_received(index: Any, shelf: Shelf) -> None:
    shelf.now += timedelta(hours=1)
    ahead = NOW + timedelta(days=400)
    await observed(index, shelf, a_run("ahead", created_at=ahead), a_run("soon", created_at=soon()))
    await observed(index, shelf, a_run("plain", created_at=NOW))
    rows, total = await index.list_runs("", None, 10)
    assert total == 3
    assert [row.run.id for row in rows] == ["soon", "ahead", "plain"]
    assert rows[0].run.created_at == soon()
    assert rows[1].run.created_at == NOW + timedelta(hours=1)
    shelf.now += timedelta(hours=1)
    await observed(index, shelf, a_run("ahead", created_at=ahead, name="edited"))
    assert (await index.run("ahead")).run.created_at == NOW + timedelta(hours=1)
    behind = Position(rows[1].run.created_at, "ahead")
    assert [row.run.id for row in (await index.list_runs("", behind, 10))[0]] == ["plain"]


def soon() -> datetime:
    """Ahead of the service's clock in the test above, but within what is taken at its word."""
    return NOW + timedelta(hours=1, minutes=4)


async def test_results_are_listed_oldest_first_in_pages(index: Any, shelf: Shelf) -> None:
    times = [NOW - timedelta(seconds=s) for s in (5, 4, 4, 3)]
    ids = ["d", "b", "a", "c"]
    await observed(
        index, shelf, *(a_result(i, "r1", created_at=t) for i, t in zip(ids, times, strict=True))
    )
    await observed(index, shelf, a_result("other", "r2"))
    first = await index.list_results("r1", None, 3)
    assert [row.id for row in first] == ["d", "a", "b"]
    behind = Position(first[-1].created_at, first[-1].id)
    assert [row.id for row in await index.list_results("r1", behind, 3)] == ["c"]
    assert await index.result_ids("r1") == ["d", "a", "b", "c"]


async def test_many_rows_are_looked_up_at_once_without_those_gone(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, a_run("r1"), a_result("x1", "r1"))
    found = await index.rows([Key("run", "r1"), Key("result", "x1"), Key("run", "nobody")])
    assert set(found) == {Key("run", "r1"), Key("result", "x1")}


async def test_a_walk_passes_every_row_once_in_the_order_of_ids(index: Any, shelf: Shelf) -> None:
    await observed(index, shelf, *(a_run(f"r{n:03}") for n in range(25)), a_result("x1", "r000"))
    seen, behind = [], ""
    while page := await index.walk("run", behind, 10):
        seen += [row.run.id for row in page]
        behind = seen[-1]
    assert seen == [f"r{n:03}" for n in range(25)]
    assert [row.id for row in await index.walk("result", "", 10)] == ["x1"]


async def test_a_request_is_remembered(index: Any) -> None:
    assert await index.recall(Key("run", "r1")) is None
    await index.remember(Key("run", "r1"), b"\x00digest")
    assert await index.recall(Key("run", "r1")) == b"\x00digest"
    assert await index.recall(Key("result", "r1")) is None


class _AnyEpoch(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(other)


ANY_EPOCH = _AnyEpoch()
