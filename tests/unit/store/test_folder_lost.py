"""What is not believed, and what is rebuilt, when a folder or its index goes away."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.unit.store.folder_house import House, a_result, a_run, house, other


async def test_an_index_deleted_while_serving_is_rebuilt_under_a_new_epoch(
    storage_dir: Path,
) -> None:
    async with house(storage_dir) as at:
        run, later = a_run(), a_run()
        other(storage_dir).create_run(run, [a_result(run)])
        await at.until_known(run.id)
        epoch, _ = await at.index.head()
        async with at.feed.listen("runs") as bells:
            shutil.rmtree(storage_dir / ".asgard")

            async def rebuilt() -> bool:
                return not await at.index.building() and await at.index.run(run.id) is not None

            await at.until(rebuilt)
            assert (await at.index.head())[0] != epoch
            await asyncio.wait_for(anext(bells), 30)
        other(storage_dir).create_run(later)
        await at.until_known(later.id)
        assert (await at.row(run.id)).result_count == 1


async def problem_of(at: House, wanted: bool) -> None:
    async def said() -> bool:
        return (at.noticer.problem is not None) is wanted

    await at.until(said)


@pytest.mark.parametrize("what", ["unmounted", "emptied", "foreign"])
async def test_nothing_is_believed_deleted_while_the_place_is_not_ours(
    storage_dir: Path, what: str
) -> None:
    async with house(storage_dir) as at:
        run = a_run()
        other(storage_dir).create_run(run, [a_result(run)])
        await at.until_known(run.id)
        head = await at.index.head()
        away = storage_dir.with_name("away")
        storage_dir.rename(away)
        if what == "emptied":
            storage_dir.mkdir()
        elif what == "foreign":
            other(storage_dir)  # another storage, with an id of its own
        await problem_of(at, True)
        await asyncio.sleep(1.5)
        shutil.rmtree(storage_dir, ignore_errors=True)
        away.rename(storage_dir)
        await problem_of(at, False)
        await asyncio.sleep(1.2)
        assert await at.index.head() == head
        assert await at.index.run(run.id) is not None
        back = a_run("after it came back")
        other(storage_dir).create_run(back)
        await at.until_known(back.id)


async def test_a_listing_that_fails_deletes_nothing(storage_dir: Path) -> None:
    async with house(storage_dir) as at:
        runs = [a_run() for _ in range(20)]
        for run in runs:
            other(storage_dir).create_run(run)
        await at.until_known(*(run.id for run in runs))
        head = await at.index.head()
        os.rename(storage_dir / "runs", storage_dir / "runs.away")
        await problem_of(at, True)
        await asyncio.sleep(1.2)
        os.rename(storage_dir / "runs.away", storage_dir / "runs")
        await problem_of(at, False)
        assert await at.index.head() == head
        assert await at.count() == 20


async def test_two_services_on_one_folder_share_what_they_notice(storage_dir: Path) -> None:
    async with (
        house(storage_dir) as one,
        house(storage_dir) as two,
        two.feed.listen("runs") as bell,
    ):
        writer, runs = other(storage_dir), [a_run() for _ in range(50)]
        for run in runs:
            writer.create_run(run, [a_result(run)])
        await one.until_known(*(run.id for run in runs))
        await two.until_known(*(run.id for run in runs))
        await asyncio.wait_for(anext(bell), 30)
        assert await one.index.head() == await two.index.head()
        changes = await two.index.changes(0, 1_000)
        assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
        assert len({change.key for change in changes}) == len(changes) == 100
        shutil.rmtree(storage_dir / ".asgard")

        async def both_whole() -> bool:
            heads = await one.index.head() == await two.index.head()
            counts = await one.count() == await two.count() == 50
            building = await one.index.building() or await two.index.building()
            return heads and counts and not building

        await one.until(both_whole)
