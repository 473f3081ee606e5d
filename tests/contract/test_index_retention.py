"""How far back every `RunIndex` remembers: a token from before is told so, never answered less."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.run.store import Change, Key, RevisionGoneError
from asgard_server.store.retention import Kept

from tests.contract.index_places import Shelf, a_run, open_index


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def fill(index: Any, shelf: Shelf, revisions: int) -> None:
    """Change a hundred runs again and again until the log has that many entries."""
    _, head = await index.head()
    for round_ in range(head, revisions, 100):
        count = min(100, revisions - round_)
        keys = [shelf.put(a_run(f"r{99 - n}", name=f"{round_}")) for n in range(count)]
        await index.observe(keys[::-1])
    assert (await index.head())[1] == revisions


async def trimmed(index: Any, behind: int, enough: Callable[[int], bool]) -> int:
    """The oldest revision kept, once it is far enough; trimming is nobody's wait."""
    oldest = 0
    for _ in range(100):
        try:
            await index.changes(behind, 10)
        except RevisionGoneError as gone:
            oldest = gone.oldest
        if enough(oldest):
            return oldest
        await asyncio.sleep(0.05)
    raise AssertionError(f"the oldest entry is still {oldest}")


async def test_a_token_from_before_the_entries_kept_is_told_so(
    engine: str, shelf: Shelf, tmp_path: Path
) -> None:
    async with open_index(engine, shelf, tmp_path, kept=Kept(500, 30)) as index:
        await fill(index, shelf, 2_100)
        oldest = await trimmed(index, 10, lambda revision: revision > 1_000)
        kept = await index.changes(oldest - 1, 10_000)
        assert [change.revision for change in kept] == list(range(oldest, 2_101))
        assert len(kept) >= 500


async def test_what_is_older_than_the_days_kept_goes_but_for_the_newest_entry(
    engine: str, shelf: Shelf, tmp_path: Path
) -> None:
    async with open_index(engine, shelf, tmp_path, kept=Kept(1_000_000, 7)) as index:
        run = shelf.put(a_run("early"))
        await index.observe([run])
        shelf.remove(run)
        await index.observe([run])
        await fill(index, shelf, 1_100)
        assert await index.tombstone(run) is not None
        shelf.now += timedelta(days=8)
        assert await index.tombstone(run) is None
        await fill(index, shelf, 2_000)
        oldest = await trimmed(index, 1_000, lambda revision: revision > 1_100)
        kept = await index.changes(oldest - 1, 10_000)
        assert [change.revision for change in kept] == list(range(oldest, 2_001))
        shelf.now += timedelta(days=8)
        await fill(index, shelf, 3_000)
        oldest = await trimmed(index, 1_900, lambda revision: revision > 2_000)
        assert await index.changes(3_000, 10) == []
        assert (await index.changes(oldest - 1, 10_000))[-1] == Change(
            3_000, Key("run", "r99"), "r99", False
        )
