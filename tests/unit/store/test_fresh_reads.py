from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgard_server.run.store import Key
from asgard_server.store import fresh_reads
from asgard_server.store.fresh_reads import FreshReads
from asgard_server.store.sqlite import SqliteRunIndex
from gimle.asgard.core.documents import encode_run
from gimle.asgard.core.folder import Folder

from tests.unit.store.folder_house import a_run, house


class Stamps(dict[Key, str]):
    def now(self, key: Key) -> str | None:
        return self.get(key)


A, B = Key("run", "a"), Key("result", "a")


def test_only_what_is_as_it_was_read_is_no_news() -> None:
    stamps = Stamps({A: "1", B: "1"})
    fresh = FreshReads(stamps.now)
    assert fresh.is_news(A), "never read"
    fresh.note(A, "1")
    assert not fresh.is_news(A)
    assert fresh.is_news(B), "another document of that id"
    stamps[A] = "2"
    assert fresh.is_news(A), "written since"
    fresh.note(A, "2")
    del stamps[A]
    assert fresh.is_news(A), "deleted since"
    fresh.note(A, None)
    assert not fresh.is_news(A), "found gone"
    stamps[A] = "2"
    assert fresh.is_news(A), "it came back"


def test_what_was_read_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_reads, "GENERATION", 10)
    keys = [Key("run", f"r{number}") for number in range(100)]
    stamps = Stamps(dict.fromkeys(keys, "1"))
    fresh = FreshReads(stamps.now)
    for key in keys:
        fresh.note(key, "1")
    known = [key for key in keys if not fresh.is_news(key)]
    assert known == keys[-len(known) :]
    assert 10 <= len(known) <= 20


def test_a_place_that_cannot_be_asked_is_news() -> None:
    def failing(key: Key) -> str | None:
        raise OSError(5, "no disk")

    fresh = FreshReads(failing)
    fresh.note(A, "1")
    assert fresh.is_news(A)


async def test_the_index_is_not_asked_about_what_we_wrote_and_is_about_what_others_wrote(
    storage_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Key] = []
    stale = SqliteRunIndex.stale

    async def noting(index: SqliteRunIndex, keys: Any) -> list[Key]:
        asked.extend(keys)
        return await stale(index, keys)

    monkeypatch.setattr(SqliteRunIndex, "stale", noting)
    async with house(storage_dir) as at:
        ours = [a_run() for _ in range(20)]
        for run in ours:
            await at.documents.create_run(run, ())
            await at.observer.observe(Key("run", run.id))
        await asyncio.sleep(0.3)
        # One may ring between its write and its observation; they cannot all.
        assert len(asked) < 10
        asked.clear()
        # Somebody else writes the very document that we have just written and observed.
        other = Folder(storage_dir, durability="relaxed")
        for run in ours:
            await at.documents.update_run(run.id, lambda run: replace(run, note="ours"))
            await at.observer.observe(Key("run", run.id))
            other.update_run(run.id, lambda run: replace(run, note="theirs"))

        async def all_theirs() -> bool:
            return all([(await at.row(run.id)).run.note == "theirs" for run in ours])

        await at.until(all_theirs)
        assert {Key("run", run.id) for run in ours} <= set(asked), "by the bell, not by a scan"
        changed = ours[0]
        path = storage_dir / "runs" / f"{changed.id}.json"
        body = encode_run(replace(changed, note="by hand"))
        await at.observer.observe(Key("run", changed.id))
        asked.clear()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(body)

        async def by_hand() -> bool:
            return (await at.row(changed.id)).run.note == "by hand"

        await at.until(by_hand)
        assert Key("run", changed.id) in asked
