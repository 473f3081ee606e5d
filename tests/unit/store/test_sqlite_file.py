"""The index is derived: deleted, damaged, foreign or lost, it is made anew and nothing else."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asgard_server.run.store import Entry, Found, Key, Kind, RunRow
from asgard_server.store.sqlite import SqliteRunIndex
from asgard_server.store.sqlite_link import Link
from asgard_server.store.sqlite_schema import IndexFile
from gimle.asgard.core.documents import RunDocument, encode_run
from gimle.asgard.core.errors import StorageUnavailableError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Papers(dict[Key, Found]):
    def write(self, run_id: str, name: str = "a run") -> Key:
        key = Key("run", run_id)
        body = encode_run(RunDocument(run_id, name, NOW, NOW))
        self[key] = Found(body, f"{len(body)}-{name}", NOW)
        return key

    def listing(self) -> list[tuple[Kind, list[Entry]]]:
        return [("run", [Entry(key, found.stamp) for key, found in self.items()])]


@pytest.fixture
def papers() -> Papers:
    return Papers()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".asgard" / "index.sqlite3"


async def opened(
    path: Path, papers: Papers, storage_id: str = "mine", boot_id: str | None = None
) -> SqliteRunIndex:
    return await SqliteRunIndex.open(path, papers.get, storage_id=storage_id, boot_id=boot_id)


async def whole(path: Path, papers: Papers, **options: str) -> SqliteRunIndex:
    index = await opened(path, papers, **options)
    await index.rebuild(papers.listing())
    return index


async def test_an_index_opened_again_is_the_same_one(path: Path, papers: Papers) -> None:
    index = await whole(path, papers)
    await index.observe([papers.write("r1")])
    head = await index.head()
    await index.close()
    again = await opened(path, papers)
    assert await again.head() == head
    assert not await again.building()
    assert (await again.run("r1")) is not None
    await again.close()


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_an_index_deleted_under_a_running_service_is_begun_anew(
    path: Path, papers: Papers, what: str
) -> None:
    index = await whole(path, papers)
    await index.observe([papers.write("r1")])
    epoch, _ = await index.head()
    if what == "folder":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    assert await index.building()
    assert (await index.head())[0] != epoch
    await index.rebuild(papers.listing())
    assert (await index.run("r1")) is not None
    assert await index.observe([papers.write("r2")]) == 1
    await index.close()
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert check.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    check.close()


async def test_an_index_deleted_while_it_is_built_stays_building(
    path: Path, papers: Papers
) -> None:
    index = await opened(path, papers)
    for n in range(10):
        papers.write(f"r{n}")

    def listing() -> Iterator[Entry]:
        yield from papers.listing()[0][1]
        shutil.rmtree(path.parent)

    await index.rebuild([("run", listing())])
    assert await index.building(), "its first half is in a file that nobody will see again"
    await index.rebuild(papers.listing())
    assert (await index.list_runs("", None, 100))[1] == 10
    await index.close()


@pytest.mark.parametrize("damage", ["garbage", "torn", "other schema", "other storage"])
async def test_an_index_of_no_use_is_replaced(path: Path, papers: Papers, damage: str) -> None:
    index = await whole(path, papers)
    await index.observe([papers.write(f"r{n}") for n in range(200)])
    epoch, _ = await index.head()
    await index.close()
    storage_id = "mine"
    if damage == "garbage":
        path.write_bytes(b"this is no database at all" * 1000)
    elif damage == "torn":
        os.truncate(path, 4096)
    elif damage == "other schema":
        other = sqlite3.connect(path)
        other.execute("PRAGMA user_version = 99")
        other.close()
    else:
        storage_id = "another"
    again = await opened(path, papers, storage_id=storage_id)
    assert await again.building()
    assert (await again.head())[0] != epoch
    await again.rebuild(papers.listing())
    assert (await again.list_runs("", None, 10))[1] == 200
    await again.close()


async def test_damage_found_while_serving_is_mended_by_a_rebuild(
    path: Path, papers: Papers
) -> None:
    index = await whole(path, papers)
    await index.observe([papers.write(f"r{n:04}", name="x" * 300) for n in range(500)])
    await index.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(size - 4096 * 6))
    index = await opened(path, papers)
    # Whichever of these meets the damage is answered from the new, still empty index.
    await index.observe([Key("run", "nobody")])
    for kind in ("run", "result"):
        await index.walk(kind, "", 1_000)
        await index.list_runs("xxx", None, 1_000)
    assert await index.building()
    await index.rebuild(papers.listing())
    assert (await index.list_runs("xxx", None, 10))[1] == 500
    await index.close()


async def test_a_place_where_no_index_can_be_is_named(tmp_path: Path, papers: Papers) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageUnavailableError, match=r"index\.sqlite3.*check disk"):
        await opened(tmp_path / "file" / "index.sqlite3", papers)


async def test_two_services_share_one_index(path: Path, papers: Papers) -> None:
    one = await whole(path, papers)
    two = await opened(path, papers)
    assert not await two.building()
    keys = [papers.write(f"r{n}") for n in range(100)]
    await asyncio.gather(*(index.observe([key]) for key in keys for index in (one, two)))
    assert await one.head() == await two.head()
    changes = await two.changes(0, 1_000)
    assert [change.revision for change in changes] == list(range(1, 101))
    assert {change.key for change in changes} == set(keys)
    await one.close()
    assert await two.observe([papers.write("last")]) == 101
    await two.close()


async def test_two_services_rebuild_a_deleted_index_together(path: Path, papers: Papers) -> None:
    for n in range(50):
        papers.write(f"r{n}")
    one, two = await whole(path, papers), await opened(path, papers)
    shutil.rmtree(path.parent)
    answers = await asyncio.gather(one.building(), two.building())
    assert list(answers) == [True, True]
    await asyncio.gather(one.rebuild(papers.listing()), two.rebuild(papers.listing()))
    assert await one.head() == await two.head()
    for index in (one, two):
        assert not await index.building()
        assert (await index.list_runs("run", None, 100))[1] == 50
        await index.close()


@pytest.mark.parametrize(
    ("closed", "boot", "same"),
    [(True, "boot-2", True), (False, "boot-1", True), (False, "boot-2", False)],
)
async def test_only_an_unclean_stop_on_another_boot_begins_a_new_epoch(
    path: Path, papers: Papers, closed: bool, boot: str, same: bool
) -> None:
    index = await whole(path, papers, boot_id="boot-1")
    await index.observe([papers.write("r1")])
    head = await index.head()
    if closed:
        await index.close()
    else:
        leave_behind(path)
        await index.close()
        bring_back(path)
    again = await opened(path, papers, boot_id=boot)
    assert (await again.head() == head) is same
    assert (await again.head())[1] == 1
    assert not await again.building()
    await again.close()


def leave_behind(path: Path) -> None:
    """Copy the index as a process that died now would leave it."""
    copy = sqlite3.connect(path.with_name("copy"))
    source = sqlite3.connect(path)
    source.backup(copy)
    source.close()
    copy.close()


def bring_back(path: Path) -> None:
    os.replace(path.with_name("copy"), path)


async def test_an_index_survives_kill_9_in_the_middle_of_observing(
    path: Path, papers: Papers, tmp_path: Path
) -> None:
    script = textwrap.dedent("""
        import asyncio, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from gimle.asgard.core.documents import RunDocument, encode_run
        from asgard_server.run.store import Found, Key
        from asgard_server.store.sqlite import SqliteRunIndex
        NOW = datetime(2026, 3, 1, tzinfo=UTC)
        def read(key):
            body = encode_run(RunDocument(key.id, "killed " + key.id, NOW, NOW))
            return Found(body, "stamp", NOW)
        async def main():
            index = await SqliteRunIndex.open(Path(sys.argv[1]), read, storage_id="mine")
            await index.rebuild([])
            async def one(worker):
                n = 0
                while True:
                    head = await index.observe([Key("run", f"r{worker}-{n}")])
                    print(f"r{worker}-{n}", head, flush=True)
                    n += 1
            await asyncio.gather(*(one(worker) for worker in range(8)))
        asyncio.run(main())
    """)
    for attempt in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(40 + 60 * attempt)]
            process.send_signal(signal.SIGKILL)
            # The last line may be torn by the signal.
            lines += process.stdout.read().splitlines(keepends=True)
        acknowledged = [line.split() for line in lines if line.endswith("\n")]
        index = await opened(path, papers)
        assert not await index.building()
        _, head = await index.head()
        changes = await index.changes(0, 100_000)
        assert [change.revision for change in changes] == list(range(1, head + 1))
        known = {change.key.id: change.revision for change in changes}
        for run_id, revision in acknowledged:
            assert known[run_id] <= int(revision)
        rows = await index.walk("run", "", 100_000)
        assert {row.run.id for row in rows if isinstance(row, RunRow)} == set(known)
        assert (await index.list_runs("killed", None, 1))[1] == min(len(known), 10_001)
        await index.close()
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        shutil.rmtree(path.parent)


async def test_whoever_notices_damage_later_leaves_the_new_index_alone(
    path: Path, papers: Papers
) -> None:
    await (await whole(path, papers)).close()
    file = IndexFile(path, "mine")
    first, second = Link(file), Link(file)
    for link in (first, second):
        link.connection()
    damage = sqlite3.DatabaseError("database disk image is malformed")
    assert first.discarded(damage)
    first.connection()
    new = file.identity()
    assert second.discarded(damage)
    second.connection()
    assert file.identity() == new
    for link in (first, second):
        link.close()
