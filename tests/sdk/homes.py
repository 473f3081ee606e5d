"""The homes of AsgardStorage, for tests that must pass on each: `def test(storage, home)`.

A home is opened by a context manager that takes an empty folder of the test's own and yields
what `AsgardStorage(where)` is to be given. Whoever makes a new one adds a line to HOMES.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gimle.asgard import AsgardStorage

from tests.rpc.running import a_service


@dataclass(frozen=True)
class Home:
    """A place for one test: the name of its kind, and what to open it by.

    `folder` is where its documents lie as files, None where they do not.
    """

    name: str
    where: str
    folder: Path | None

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


HOMES: dict[str, Callable[[Path], AbstractContextManager[Home]]] = {
    "folder": a_folder,
    "grpc": a_grpc_service,
}
