"""The homes of AsgardStorage, for tests that must pass on each: `def test(storage, home)`.

A home is opened by a context manager that takes an empty folder of the test's own and yields
what `AsgardStorage(where)` is to be given. Whoever makes a new one adds a line to HOMES.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest
from gimle.asgard import AsgardStorage

from tests.engines import minio, versitygw
from tests.engines.s3_store import Store
from tests.rpc.running import a_service


@dataclass(frozen=True)
class Home:
    """A place for one test: the name of its kind, and what to open it by.

    `folder` is where its documents lie as files, None where they do not; `store` is the S3
    store where they lie as objects.
    """

    name: str
    where: str
    folder: Path | None
    store: Store | None = None

    def left(self) -> list[str]:
        """The names of all documents and arrays that lie there."""
        if self.store is not None:
            bucket, _, prefix = self.where.removeprefix("s3://").partition("/")
            keys = self.store.keys(bucket, f"{prefix}/")
            return [key for key in keys if not key.endswith("/.asgard_metadata.json")]
        assert self.folder is not None
        parts = (self.folder / part for part in ("runs", "results", "files"))
        return [file.name for part in parts for file in part.iterdir()]

    def open(self) -> AsgardStorage:
        """A storage there, of its own."""
        return AsgardStorage(self.where, durability="relaxed")


@contextmanager
def a_folder(place: Path) -> Iterator[Home]:
    """A folder, written directly."""
    yield Home("folder", str(place), place)


@contextmanager
def a_grpc_service(place: Path) -> Iterator[Home]:
    """RunService over a folder, in a thread with a loop of its own."""
    ready, end = threading.Event(), asyncio.Event()
    said: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with a_service(place) as service:
            said.append(service.service.address)
            ready.set()
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="service")
    thread.start()
    assert ready.wait(30)
    assert said, "the service did not start"
    try:
        yield Home("grpc", f"grpc://{said[0]}", place)
    finally:
        loops[0].call_soon_threadsafe(end.set)
        thread.join(30)


def _in_s3(server: Callable[[], Store]) -> Callable[[Path], AbstractContextManager[Home]]:
    """Prefixes of one bucket of a store, found by the variables of the environment."""
    bucket = functools.cache(lambda: server().bucket(kept=True))

    @contextmanager
    def a_prefix(place: Path) -> Iterator[Home]:
        store = server()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in store.variables.items():
                patch.setenv(name, value)
            where = f"s3://{bucket()}/{token_hex(4)}/{place.name}"
            yield Home(store.name, where, None, store)

    return a_prefix


HOMES: dict[str, Callable[[Path], AbstractContextManager[Home]]] = {
    "folder": a_folder,
    "grpc": a_grpc_service,
    "minio": _in_s3(minio.server),
    "versitygw": _in_s3(versitygw.server),
}
