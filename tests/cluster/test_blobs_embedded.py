"""Blobs in the embedded shape: its disk is full, and its loop is asked how late it is."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from asgard_server.all_in_one import Addresses, serve
from asgard_server.settings import Settings
from gimle.asgard.client.blobs import Blobs
from gimle.asgard.core.errors import AsgardError, BlobNotReadyError

from tests.conftest import free_port
from tests.engines.s3_store import ROOT
from tests.engines.small_disk import SmallDisk, small_disk
from tests.engines.tying import tied

pytestmark = pytest.mark.timeout(300)  # on a busy machine

MIB = 1 << 20
SIZE = 64 * MIB
LARGE = 256 * MIB
MOST_LAG_S = 0.05
ATTEMPTS = 5

UPLOAD = """
import sys
from gimle.asgard.client.blobs import Blobs
Blobs(sys.argv[1]).upload(sys.argv[2], sys.argv[3])
"""


@asynccontextmanager
async def a_server(disk: SmallDisk, log: Path) -> AsyncIterator[str]:
    """`asgard serve all` on the small disk; the address of its services."""
    port, page = free_port(), free_port()
    command = [
        *(sys.executable, "-m", "gimle.asgard.cli", "serve", "all"),
        *("--storage", str(disk.inside / "storage"), "--port", str(page)),
        *("--grpc-port", str(port)),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(
            disk.entering(*command), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    tied(process.pid)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{page}", timeout=30) as client:
            for _ in range(600):
                assert process.poll() is None, log.read_text()
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
        yield f"grpc://127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        print(log.read_text())


async def test_a_disk_that_is_full_refuses_a_blob_whole_and_loses_none(
    tmp_path: Path, chance: random.Random
) -> None:
    files = {"small": 3 * MIB, "mid": 12 * MIB, "parts": 65 * MIB // 4}
    for name, size in files.items():
        (tmp_path / name).write_bytes(chance.randbytes(size))
    with small_disk(tmp_path / "disk", SIZE) as disk:
        async with a_server(disk, tmp_path / "log") as where:
            await asyncio.to_thread(_fill_and_make_room, disk, where, tmp_path, chance)
        storage = disk.path / "storage"
        bytes_of = {
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (storage / "blobs").glob("*/1")
        }
        assert bytes_of == {
            hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in files
        }
        left = [path for path in (storage / ".asgard/uploads").rglob("*") if path.is_file()]
        assert left == [], "of what was refused nothing is left"


def _fill_and_make_room(disk: SmallDisk, where: str, folder: Path, chance: random.Random) -> None:
    with Blobs(where, patience=2) as blobs:
        for name in ("small", "mid", "parts"):
            size = (folder / name).stat().st_size
            disk.fill(leave=chance.randrange(size // 2))
            for _ in range(2):
                with pytest.raises((AsgardError, OSError), match=r"(?i)full|space|room") as refused:
                    blobs.upload(folder / name)
                print(refused.value)
                with pytest.raises((AsgardError, BlobNotReadyError)):
                    blobs.download(name, folder / "never")
            disk.make_room()
            (blob,) = blobs.upload(folder / name).blobs
            assert blob.state == "ready"
            blobs.download(name, folder / "out")
            assert (folder / "out" / name).read_bytes() == (folder / name).read_bytes()


async def test_the_loop_is_not_held_up_while_a_large_blob_comes(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(MIB) * (LARGE // MIB))
    addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    stopping = asyncio.Event()
    settings = Settings(storage=tmp_path / "storage", port=free_port(), grpc_port=free_port())
    serving = asyncio.create_task(serve(settings, ready=addresses.set_result, stopping=stopping))
    while not addresses.done() and not serving.done():
        await asyncio.wait([serving], timeout=0.05)
    where = f"grpc://127.0.0.1:{addresses.result().grpc.rpartition(':')[2]}"
    lags: list[float] = []
    # A machine that is busy with other things is late by itself, but not every time.
    while len(lags) < ATTEMPTS and min(lags, default=1.0) > MOST_LAG_S:
        command = [sys.executable, "-c", UPLOAD, where, str(path), f"large-{len(lags)}"]
        upload = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        lags.append(await _worst_lag(asyncio.ensure_future(upload.wait())))
        assert upload.returncode == 0
    stopping.set()
    await serving
    print([round(each, 4) for each in lags])
    assert min(lags) <= MOST_LAG_S, lags


async def _worst_lag(work: asyncio.Future[int]) -> float:
    """How late a timer of one millisecond was at most until `work` was done."""
    worst = 0.0
    while not work.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    return worst
