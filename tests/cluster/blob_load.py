"""Callers that upload without pause through the library, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gimle.asgard.client.blobs import Blobs
from gimle.asgard.client.connection import Connection
from gimle.asgard.core.errors import AsgardError, NotFoundError
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

from tests.cluster.processes import eventually

MIB = 1 << 20
LARGE = 65 * MIB  # in three parts


class BlobLoad:
    """Callers of BlobService at `where`.

    `uploaded` has what was acknowledged, names with the SHA-256 of their bytes; `gone` the names
    whose deletion was. `failed` are calls that raised: the same call is made again then.
    """

    def __init__(self, where: str, folder: Path, seed: int) -> None:
        self.where = where
        self.uploaded: dict[str, str] = {}
        self.gone: set[str] = set()
        self.failed: list[str] = []
        self.acknowledged = 0
        self.stopping = False
        self._folder = folder
        self._seed = seed
        self._lock = threading.Lock()

    def small(self, number: int) -> None:
        """Folders of small files, one of them larger; now and then one is deleted."""
        chance = random.Random(f"{self._seed} {number}")
        with Blobs(self.where) as blobs:
            for turn in range(1 << 30):
                if self.stopping:
                    return
                name = f"small/{number}/{turn}"
                folder = self._folder / name
                folder.mkdir(parents=True)
                for file in range(chance.randrange(1, 9)):
                    size = 2 * MIB if chance.random() < 0.1 else chance.randrange(20_000)
                    (folder / str(file)).write_bytes(chance.randbytes(size))
                self._until_done(lambda folder=folder, name=name: blobs.upload(folder, name))  # type: ignore[misc]
                self._note({f"{name}/{path.name}": path for path in folder.iterdir()})
                shutil.rmtree(folder)
                if chance.random() < 0.2:
                    self._delete(blobs, f"{name}/0")

    def large(self, number: int) -> None:
        """Files in parts."""
        chance = random.Random(f"{self._seed} {number}")
        path = self._folder / f"large-{number}"
        with Blobs(self.where) as blobs:
            for turn in range(1 << 30):
                if self.stopping:
                    return
                path.write_bytes(chance.randbytes(MIB) * (LARGE // MIB) + chance.randbytes(9))
                name = f"large/{number}/{turn}"
                self._until_done(lambda name=name: blobs.upload(path, name))  # type: ignore[misc]
                self._note({name: path})

    def plain(self, number: int) -> None:
        """Bytes of which nothing was declared: completion copies them."""
        chance = random.Random(f"{self._seed} {number}")
        connection = Connection(self.where, service=pb_grpc.BlobServiceStub)
        for turn in range(1 << 30):
            if self.stopping:
                break
            name, body = f"plain/{number}/{turn}", chance.randbytes(chance.randrange(1, 50_000))
            new = pb.NewUpload(blob_id=f"plain-{number}-{turn}", name=name)

            def upload(new: pb.NewUpload = new, body: bytes = body) -> None:
                request = pb.CreateUploadsRequest(uploads=[new])
                (begun,) = connection.call("CreateUploads", request).uploads
                if begun.HasField("put"):
                    put = urllib.request.Request(begun.put.url, body, method="PUT")
                    for header, value in begun.put.headers.items():
                        put.add_header(header, value)
                    urllib.request.urlopen(put, timeout=30).close()
                item = pb.CompleteUploadsRequest.Item(blob_id=new.blob_id)
                asked = pb.CompleteUploadsRequest(uploads=[item])
                (outcome,) = connection.call("CompleteUploads", asked).outcomes
                if not outcome.HasField("blob"):
                    raise OSError(outcome.problem.message)

            self._until_done(upload)
            with self._lock:
                self.uploaded[name] = hashlib.sha256(body).hexdigest()
                self.acknowledged += 1
        connection.close()

    def _until_done(self, work: Callable[[], object]) -> None:
        """Make a call until it is acknowledged: after a failure the same call goes on."""
        deadline = time.monotonic() + 120
        while True:
            try:
                work()
                return
            except (AsgardError, OSError) as error:
                if time.monotonic() > deadline:
                    raise
                with self._lock:
                    self.failed.append(f"{type(error).__name__}: {error}")
                time.sleep(0.1)

    def _delete(self, blobs: Blobs, name: str) -> None:
        with self._lock:
            self.uploaded.pop(name)  # until it is acknowledged nobody knows whether it is there

        def delete() -> None:
            with suppress(NotFoundError):  # by an attempt that failed
                blobs.delete(name)

        self._until_done(delete)
        with self._lock:
            self.gone.add(name)

    def _note(self, paths: dict[str, Path]) -> None:
        digests = {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()
        }
        with self._lock:
            self.uploaded |= digests
            self.acknowledged += len(digests)

    async def until(self, acknowledged: int, seconds: float = 120.0) -> None:
        """Wait until so many blobs have been acknowledged."""

        async def reached() -> bool:
            return self.acknowledged >= acknowledged

        await eventually(reached, seconds, f"that {acknowledged} blobs are acknowledged")


@asynccontextmanager
async def blob_load(where: str, folder: Path, *, seed: int) -> AsyncIterator[BlobLoad]:
    """Two callers of small files, one of large ones, one of plain ones, until the block ends."""
    made = BlobLoad(where, folder / "load", seed)
    async with asyncio.TaskGroup() as tasks:  # a caller that fails ends the block
        made._folder.mkdir()
        for number, caller in enumerate((made.small, made.small, made.large, made.plain)):
            tasks.create_task(asyncio.to_thread(caller, number))
        try:
            yield made
        finally:
            made.stopping = True
