"""Where arrays go straight to the store in tests: a folder, and both S3 stores behind services.

Over S3, RunService and BlobService are processes of their own, or all is one process (`alone`).
What clients send and fetch passes `bytes`, what RunService itself asks of the store passes `own`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from gimle.asgard import AsgardStorage

from tests.cluster.processes import ServiceProcess
from tests.conftest import free_port
from tests.engines import minio, postgres, versitygw
from tests.engines.s3_store import ROOT, Store
from tests.sdk.relay import Relay, a_relay
from tests.sdk.servers import Server


class Replica(ServiceProcess):
    """`asgard serve run` or `asgard serve blob`."""

    def __init__(self, name: str, environ: dict[str, str], log: Path) -> None:
        self.port = free_port()
        super().__init__(name, environ | {"ASGARD_GRPC_PORT": str(self.port)}, log)

    async def serves(self) -> bool:
        """Whether it says that it takes calls."""
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                return (await client.get(f"{self.metrics}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False


@dataclass(frozen=True)
class Place:
    """A service at `where` over `storage`; `folder` is that, where it is a folder."""

    where: str
    storage: str
    folder: Path | None = None
    store: Store | None = None
    bytes: Relay | None = None
    own: Relay | None = None
    services: tuple[Replica, ...] = field(default=())

    def open(self) -> AsgardStorage:
        """A client of it."""
        return AsgardStorage(self.where)

    def left(self) -> list[str]:
        """The names of all arrays that lie there."""
        if self.folder is not None:
            return sorted(file.name for file in (self.folder / "files").iterdir())
        assert self.store is not None
        bucket, _, prefix = self.storage.removeprefix("s3://").partition("/")
        keys = self.store.keys(bucket, f"{prefix}/files/")
        return sorted(key.rpartition("/")[2] for key in keys)

    def process(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a script as a process that can be killed; its first argument is `where`."""
        command = [sys.executable, "-c", script, self.where, *arguments]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@contextmanager
def in_a_folder(folder: Path) -> Iterator[Place]:
    """The embedded shape."""
    server = Server(folder / "storage")
    server.start()
    try:
        yield Place(server.where, str(folder / "storage"), folder / "storage")
    finally:
        server.end()


@contextmanager
def in_s3(server: Callable[[], Store], folder: Path) -> Iterator[Place]:
    """RunService and BlobService over a store and PostgreSQL."""
    store = server()
    storage = f"s3://{store.bucket()}/asgard"
    with a_relay(store.port) as public, a_relay(store.port) as own:
        environ = {
            **store.variables,
            "ASGARD_STORAGE": storage,
            "ASGARD_DATABASE_URL": asyncio.run(postgres.database_of(folder)),
            "ASGARD_S3_PUBLIC_ENDPOINT": f"http://127.0.0.1:{public.port}",
            "ASGARD_DRAIN_SECONDS": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        blob = Replica("blob", environ, folder / "blob.log")
        mine = {
            "ASGARD_BLOB_ADDRESS": f"127.0.0.1:{blob.port}",
            "ASGARD_S3_ENDPOINT": f"http://127.0.0.1:{own.port}",
        }
        run = Replica("run", environ | mine, folder / "run.log")
        try:
            asyncio.run(blob.start())
            asyncio.run(run.start())
            yield Place(
                f"grpc://127.0.0.1:{run.port}",
                storage,
                store=store,
                bytes=public,
                own=own,
                services=(run, blob),
            )
        finally:
            for each in (run, blob):
                if each.alive:
                    asyncio.run(each.kill())
                print(each.said())
            postgres.give_back(folder)


@contextmanager
def in_s3_alone(folder: Path) -> Iterator[Place]:
    """One process over a store, and no database."""
    store = versitygw.server()
    storage = f"s3://{store.bucket()}/asgard"
    with a_relay(store.port) as public:
        server = Server(
            storage,
            {
                **store.variables,
                "ASGARD_S3_PUBLIC_ENDPOINT": f"http://127.0.0.1:{public.port}",
                "XDG_CACHE_HOME": str(folder / "cache"),
            },
        )
        server.start()
        try:
            yield Place(server.where, storage, store=store, bytes=public)
        finally:
            server.end()


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "folder": in_a_folder,
    "minio": partial(in_s3, minio.server),
    "versitygw": partial(in_s3, versitygw.server),
    "alone": in_s3_alone,
}
