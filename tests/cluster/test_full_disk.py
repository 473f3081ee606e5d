"""The disk of the embedded shape is full, again and again: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from gimle.asgard.core.documents import RunDocument, encode_run
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.ids import new_id

from tests.cluster.processes import eventually
from tests.cluster.watchers import Watcher, watchers
from tests.conftest import free_port
from tests.engines.small_disk import SmallDisk, small_disk
from tests.engines.tying import tied

pytestmark = pytest.mark.timeout(300)  # on a busy machine

SIZE = 48 << 20
FULL = "STORAGE_FULL"


@asynccontextmanager
async def a_server(disk: SmallDisk, log: Path) -> AsyncIterator[httpx.AsyncClient]:
    """`asgard serve all` on the small disk; a client of its page's address."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gimle.asgard.cli", "serve", "all"),
        *("--storage", str(disk.inside / "storage"), "--port", str(port), "--grpc-port", "0"),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(
            disk.entering(*command), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    tied(process.pid)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(600):
                assert process.poll() is None, log.read_text()
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
            yield client
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        print(log.read_text())


class Saver:
    """Saves runs with results over REST until `stopping`.

    `saved` has what was acknowledged: of a result the run's id, of a run nothing.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.saved: dict[str, str] = {}
        self.refused = 0
        self.stopping = False

    async def save(self) -> None:
        """One of several savers."""
        while not self.stopping:
            run_id = new_id(datetime.now(UTC))
            if await self._post("/v1/runs", {"id": run_id, "name": "n", "note": "x" * 2000}):
                self.saved[run_id] = ""
                result_id = new_id(datetime.now(UTC))
                data = {"id": result_id, "result_type": "Any", "data": {"x": [1.5] * 3000}}
                if await self._post(f"/v1/runs/{run_id}/results", {"result": data}):
                    self.saved[result_id] = run_id

    async def ended(self) -> str:
        """A run to which nobody adds any more, empty for none: its result is saved."""
        return next((owner for owner in self.saved.values() if owner), "")

    async def _post(self, path: str, body: object) -> bool:
        while True:
            answer = await self.client.post(path, json=body)
            if answer.status_code == 200 or answer.json()["reason"] == "ALREADY_EXISTS":
                return True
            assert answer.json()["reason"] == FULL, answer.text
            self.refused += 1
            if self.stopping:
                return False
            await asyncio.sleep(0.05)


async def test_a_disk_that_is_full_now_and_then_loses_nothing_that_was_acknowledged(
    tmp_path: Path, chance: random.Random
) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        async with (
            a_server(disk, tmp_path / "log") as client,
            watchers(10, str(client.base_url)) as watching,
        ):
            saver, deleted = Saver(client), set[str]()
            reserve = disk.path / "storage" / ".asgard" / "deleting" / "_reserve"

            async def kept_back() -> bool:
                return await asyncio.to_thread(reserve.exists)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(saver.save())
                for _ in range(4):
                    await asyncio.sleep(chance.uniform(0.3, 0.8))
                    await eventually(saver.ended, what="a run whose saver is done with it")
                    await asyncio.to_thread(disk.fill, leave=chance.randrange(64 << 10))
                    await _until_refused(saver)
                    # Deleting is what makes room: it goes on a full disk, too.
                    run_id = await saver.ended()
                    answer = await client.delete("/api/run", params={"id": run_id})
                    assert answer.status_code == 200, answer.text
                    assert (await client.get("/api/run", params={"id": run_id})).status_code == 404
                    deleted.add(run_id)
                    gone = [id for id, owner in saver.saved.items() if run_id in (id, owner)]
                    for id in gone:
                        del saver.saved[id]
                    assert (await client.get("/api/runs?page_size=5")).status_code == 200
                    await asyncio.to_thread(disk.make_room)
                    await eventually(kept_back, what="that room is kept back again")
                saver.stopping = True
            print(f"{len(saver.saved)} saved, {saver.refused} refused")
            last = (await client.post("/v1/runs", json={"name": "last"})).json()["id"]
            # Where the room was taken at once, index and watchers hear of a delete later.
            await _told_of_all(watching, {*saver.saved, last}, deleted)
        folder = Folder(disk.path / "storage", create=False)
        there = {*folder.ids("run"), *folder.ids("result")}
        assert set(saver.saved) <= there, "what was acknowledged is gone"
        found = [each for each in folder.fsck().findings if each.kind != "temporary"]
        assert found == []


async def test_a_service_whose_index_has_no_room_is_ready_to_be_deleted_from(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        async with a_server(disk, tmp_path / "log") as client:
            for number in range(20):
                run = {"id": f"r{number}", "name": "n", "note": "x" * 2000}
                assert (await client.post("/v1/runs", json=run)).status_code == 200
            storage = disk.path / "storage"
            beside = _strewn(storage)
            moved: list[Path] = []
            await asyncio.to_thread(disk.fill)

            async def full() -> bool:
                # A rename needs no room, and an index does: what it has at hand is soon spent.
                more = beside[len(moved) : len(moved) + 100]
                moved.extend(path.rename(storage / "runs" / path.name) for path in more)
                return "asgard_index_full 1.0" in (await client.get("/metrics")).text

            await eventually(full, 60, what="that the index has no room")

            async def told() -> bool:
                return await _index_of(client) == "NOT_SERVING"

            await eventually(told, what="that /readyz tells of the index")
            deleted = await client.delete("/api/run", params={"id": "r0"})
            assert deleted.status_code == 200, deleted.text
            assert (await client.get("/api/run", params={"id": "r0"})).status_code == 404
            await asyncio.to_thread(disk.fill)
            refused = await client.post("/v1/runs", json={"name": "n", "note": "x" * 2000})
            assert refused.json()["reason"] == FULL, refused.text
            await asyncio.to_thread(disk.make_room)

            async def all_listed() -> bool:
                listed = (await client.get("/v1/runs?query=strewn&page_size=1000")).json()
                there = {run["id"] for run in listed["runs"]}
                return bool(listed["next_page_token"]) or {path.stem for path in moved} <= there

            await eventually(all_listed, 60, what="that the index knows all")

            async def well() -> bool:
                text = (await client.get("/metrics")).text
                return "asgard_index_full 0.0" in text and await _index_of(client) == "SERVING"

            await eventually(well, what="that the index has room")
        assert "no room to index changes" in (tmp_path / "log").read_text()


async def test_a_service_that_finds_no_room_to_start_says_so_and_runs_are_deleted_without_it(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        ids = [f"r{number}" for number in range(30)]
        async with a_server(disk, tmp_path / "log") as client:
            for run_id in ids:
                run = {"id": run_id, "name": "n", "note": "x" * 2000}
                assert (await client.post("/v1/runs", json=run)).status_code == 200
        await asyncio.to_thread(disk.fill)
        asgard = [sys.executable, "-m", "gimle.asgard.cli"]
        storage = ("--storage", str(disk.inside / "storage"))
        status, said = await _ended(disk, *asgard, "serve", "all", *storage)
        assert status == 1
        assert "on a full disk" in said
        assert f"asgard runs delete RUN... --storage {disk.inside / 'storage'}" in said
        status, said = await _ended(disk, *asgard, "runs", "delete", *ids[1:], "-y", *storage)
        assert status == 0, said
        async with a_server(disk, tmp_path / "log") as client:

            async def noticed() -> bool:
                # A service starts with the index that it left, and looks behind that.
                listed = (await client.get("/api/runs")).json()
                return [run["id"] for run in listed] == ids[:1]

            await eventually(noticed, what="that the deletes are known")


async def _ended(disk: SmallDisk, *command: str) -> tuple[int, str]:
    """The status of a command that has ended on the disk, and what it said."""
    done = await asyncio.to_thread(
        subprocess.run,
        disk.entering(*command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


async def _index_of(client: httpx.AsyncClient) -> str:
    """What /readyz says of the index of a service that is ready."""
    ready = await client.get("/readyz")
    assert ready.status_code == 200, ready.text
    return str(ready.json()["services"]["index"])


def _strewn(storage: Path) -> list[Path]:
    """Documents of runs that somebody else has written beside a storage."""
    beside = storage.with_name("beside")
    beside.mkdir()
    paths = []
    for number in range(3_000):
        now = datetime.now(UTC)
        run = RunDocument(new_id(now), f"strewn {number}", now, now)
        path = beside / f"{run.id}.json"
        path.write_bytes(encode_run(run))
        paths.append(path)
    return paths


async def _until_refused(saver: Saver) -> None:
    before = saver.refused

    async def refused() -> bool:
        return saver.refused >= before + 5

    await eventually(refused, what="a refusal")


async def _told_of_all(watching: list[Watcher], saved: set[str], deleted: set[str]) -> None:
    """Every watcher is told of all that was saved and deleted, each change once and in order."""
    for watcher in watching:

        async def told(watcher: Watcher = watcher) -> bool:
            seen = watcher.seen()
            gone = {each.object_id for each in seen if each.type == "delete"}
            return deleted <= gone and saved <= {each.object_id for each in seen}

        await eventually(told, what="what was saved and deleted")
        seen = watcher.seen()
        while seen[0].type == "reset":  # the index of a new folder is made under them
            del seen[0]
        revisions = [each.revision for each in seen]
        assert revisions == list(range(revisions[0], revisions[0] + len(seen)))
