"""A disk that is nearly full: large files take their room once, and what does not fit is told so.

At once, with the file's name and what is to be done, and nothing is half there.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from botocore.exceptions import ClientError
from gimle.asgard import AsgardStorage
from gimle.asgard.client.blobs import Blobs
from gimle.asgard.client.blobs_grants import ServiceUploads
from gimle.asgard.client.connection import Connection
from gimle.asgard.client.errors import PASSING_UNLESS_FULL
from gimle.asgard.client.granted_uploads import Upload
from gimle.asgard.core.errors import StorageFullError
from gimle.asgard.transfer.progress import Progress
from gimle.asgard.v1 import asset_requests_pb2 as pb
from gimle.asgard.v1 import asset_service_pb2_grpc as pb_grpc

from tests.cluster.blob_processes import BlobReplica
from tests.cluster.processes import eventually
from tests.cluster.test_blobs_embedded import MIB, a_server
from tests.engines import minio, postgres
from tests.engines.s3_store import Store
from tests.engines.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.timeout(300)  # on a busy machine

# In parts of 16 MiB.
LARGE = 80 * MIB
# Its room, that of a part, and some for all else.
SIZE = LARGE + 24 * MIB
# As long as calls that fail in passing are repeated: what is told at once is told long before.
PATIENCE = 60.0
SOON = PATIENCE / 4

Work = Callable[[SmallDisk, str, Path], None]


async def on_a_small_disk(tmp_path: Path, work: Work) -> None:
    """Do `work` with a disk, the address of a server on it, and a large file."""
    file = tmp_path / "large.bin"
    with file.open("wb") as large:
        for number in range(LARGE // MIB):
            large.write(number.to_bytes(8, "big") * (MIB // 8))
    with small_disk(tmp_path / "disk", SIZE) as disk:
        async with a_server(disk, tmp_path / "log") as where:
            await asyncio.to_thread(work, disk, where, file)


async def test_a_large_file_needs_its_room_and_that_of_one_part(tmp_path: Path) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        with Blobs(where, patience=PATIENCE) as blobs:
            (blob,) = blobs.upload(file).blobs
            assert (blob.state, blob.sha256_verified) == ("ready", True)
            blobs.download(file.name, tmp_path / "out")
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
        assert not left(disk)

    await on_a_small_disk(tmp_path, work)


@pytest.mark.parametrize("size", [3 * LARGE, 40 * MIB], ids=["in parts", "in one request"])
async def test_what_cannot_fit_is_refused_before_a_byte_of_it_comes(
    tmp_path: Path, size: int
) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        disk.fill(leave=30 * MIB)
        with file.open("wb") as large:
            large.truncate(size)
        told: list[Progress] = []
        with Blobs(where, patience=PATIENCE) as blobs:
            error = refused_soon(lambda: blobs.upload(file, "runs/large", progress=told.append))
            assert list(blobs.list()) == []
        assert error.what == "runs/large"
        assert (error.needed_bytes or 0) >= size
        assert 0 < (error.free_bytes or 0) <= 30 * MIB
        assert told == []
        assert not left(disk)
        command = [sys.executable, "-m", "gimle.asgard.cli", "blob", "put", str(file)]
        done = subprocess.run(
            [*command, "--server", where], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (1, "")
        said = " ".join(done.stderr.split())
        assert re.search(r"large\.bin: the storage .* is full: [\d,]+ bytes are needed, and", said)
        assert "make room and send it again" in said
        # What fits is taken.
        (tmp_path / "small.bin").write_bytes(bytes(MIB))
        with Blobs(where, patience=PATIENCE) as blobs:
            assert blobs.upload(tmp_path / "small.bin").blobs[0].state == "ready"

    await on_a_small_disk(tmp_path, work)


async def test_a_disk_that_is_full_in_the_middle_is_told_at_once_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        told: list[Progress] = []

        def fill_once(now: Progress) -> None:
            if not told:
                disk.fill(leave=4096)
            told.append(now)

        with Blobs(where, patience=PATIENCE) as blobs:
            error = refused_soon(lambda: blobs.upload(file, progress=fill_once))
            assert file.name in str(error)
            assert "make room" in str(error)
            assert max(now.files_done for now in told) == 0
            disk.make_room()
            done = blobs.upload(file)
            assert done.bytes_moved <= LARGE - told[-1].bytes_done < LARGE
            blobs.download(file.name, tmp_path / "out")
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()

    await on_a_small_disk(tmp_path, work)


async def test_without_room_to_put_parts_together_none_has_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        complete = ServiceUploads.complete

        def without_room(*given: object) -> None:
            disk.fill(leave=MIB)
            complete(*given)  # type: ignore[arg-type]

        with Blobs(where, patience=PATIENCE) as blobs:
            with monkeypatch.context() as filling:
                filling.setattr(ServiceUploads, "complete", without_room)
                error = refused_soon(lambda: blobs.upload(file))
            assert error.what == file.name
            disk.make_room()
            assert blobs.upload(file).bytes_moved == 0
            blobs.download(file.name, tmp_path / "out")
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
        assert not left(disk)

    await on_a_small_disk(tmp_path, work)


async def test_an_upload_that_had_begun_goes_on_in_the_room_of_what_is_still_to_come(
    tmp_path: Path,
) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        def stop_late(now: Progress) -> None:
            if now.bytes_done > LARGE // 2:
                raise InterruptedError

        with Blobs(where, patience=PATIENCE) as blobs:
            with pytest.raises(InterruptedError):
                blobs.upload(file, progress=stop_late)
            disk.fill(leave=LARGE // 2 + 10 * MIB)  # less than the file, and more than its rest
            assert blobs.upload(file).blobs[0].state == "ready"
            disk.fill(leave=MIB)
            assert blobs.upload(file).bytes_moved == 0  # it is there: it needs no room

    await on_a_small_disk(tmp_path, work)


async def test_one_request_whose_room_is_taken_leaves_its_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        granted = ServiceUploads.whole

        def then_fill(*given: object) -> object:
            answer = granted(*given)  # type: ignore[arg-type]
            disk.fill(leave=MIB)
            return answer

        file.write_bytes(bytes(20 * MIB))
        with Blobs(where, patience=PATIENCE) as blobs:
            with monkeypatch.context() as filling:
                filling.setattr(ServiceUploads, "whole", then_fill)
                error = refused_soon(lambda: blobs.upload(file))
            assert file.name in error.what
            assert list(blobs.list()) == []
            assert not left(disk)
            disk.make_room()
            file.write_bytes(b"others")
            assert blobs.upload(file).blobs[0].state == "ready"

    await on_a_small_disk(tmp_path, work)


async def test_an_array_that_does_not_fit_is_refused_as_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.zeros(3 * MIB)  # 24 MiB

    def work(disk: SmallDisk, where: str, file: Path) -> None:
        storage = AsgardStorage(where, patience=0)
        run = storage.create_run("full")
        disk.fill(leave=10 * MIB)
        error = refused_soon(lambda: storage.add_result(run, "Any", {"x": values}))
        assert error.needed_bytes is not None
        assert error.needed_bytes >= values.nbytes
        assert list((disk.path / "storage" / "files").iterdir()) == []
        disk.make_room()
        # The same where the room is taken when it has been let in: it goes no other way.
        ask = Upload._ask

        def then_fill(upload: Upload) -> object:
            answer = ask(upload)
            disk.fill(leave=MIB)
            return answer

        with monkeypatch.context() as filling:
            filling.setattr(Upload, "_ask", then_fill)
            filling.setattr(Connection, "_send", None)
            refused_soon(lambda: storage.add_result(run, "Any", {"x": values}))
        disk.make_room()
        assert storage.add_result(run, "Any", {"x": values})

    await on_a_small_disk(tmp_path, work)


async def test_an_asset_that_does_not_fit_is_refused_as_a_file_is(tmp_path: Path) -> None:
    def work(disk: SmallDisk, where: str, file: Path) -> None:
        component = pb.NewComponent(name="weights", size_bytes=3 * LARGE)
        request = pb.CreateAssetRequest(asset_type="checkpoint", component_files=[component])
        connection = Connection(
            where, service=pb_grpc.AssetServiceStub, passing=PASSING_UNLESS_FULL
        )
        error = refused_soon(lambda: connection.call("CreateAsset", request))
        connection.close()
        assert error.what == ""
        assert (error.needed_bytes or 0) >= 3 * LARGE

    await on_a_small_disk(tmp_path, work)


@pytest.mark.parametrize("size", [LARGE, 3 * MIB], ids=["in parts", "in one request"])
async def test_a_store_that_is_full_is_told_at_once(tmp_path: Path, size: int) -> None:
    file = tmp_path / "large.bin"
    with file.open("wb") as large:
        large.truncate(size)
    with small_disk(tmp_path / "disk", 64 * MIB) as disk:
        store = minio.another(disk)
        other = store.bucket()
        replica = BlobReplica(
            {
                **store.variables,
                "ASGARD_STORAGE": f"s3://{store.bucket()}/asgard",
                "ASGARD_DATABASE_URL": await postgres.database_of(tmp_path),
                "ASGARD_DRAIN_SECONDS": "1",
            },
            tmp_path / "blob.log",
        )
        try:
            await replica.start()
            await asyncio.to_thread(disk.fill, leave=400_000)
            where = f"grpc://127.0.0.1:{replica.port}"
            # Until MinIO has looked at its disk, and afterwards.
            for _ in range(2):
                with Blobs(where, patience=PATIENCE) as blobs:
                    error = await asyncio.to_thread(refused_soon, partial(blobs.upload, file))
                assert file.name in error.what
                await eventually(partial(asyncio.to_thread, _has_seen_it, store, other))
            command = [sys.executable, "-m", "gimle.asgard.cli", "blob", "put", str(file)]
            done = await asyncio.to_thread(
                subprocess.run, [*command, "--server", where], capture_output=True, text=True
            )
            assert (done.returncode, done.stdout) == (1, "")
            said = " ".join(done.stderr.split())
            assert re.search(r"large\.bin: the storage .* is full; make room and", said), said
        finally:
            if replica.alive:
                await replica.kill()
            print(replica.said())
            store.remove()
            postgres.give_back(tmp_path)


def _has_seen_it(store: Store, bucket: str) -> bool:
    """Whether a store knows that its disk is full."""
    try:
        store.client().put_object(Bucket=bucket, Key="large", Body=bytes(MIB))
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 507
    return False


def refused_soon(work: Callable[[], object]) -> StorageFullError:
    """The refusal of what finds no room, which comes without another try."""
    begun = time.monotonic()
    with pytest.raises(StorageFullError) as refused:
        work()
    print(refused.value)
    assert time.monotonic() - begun < SOON
    return refused.value


def left(disk: SmallDisk) -> list[Path]:
    """The files of uploads that are not ready."""
    uploads = disk.path / "storage" / ".asgard" / "uploads"
    return [path for path in uploads.rglob("*") if path.is_file()]
