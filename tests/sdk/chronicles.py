"""A Chronicle client of a whole embedded server, for tests that are plain functions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from methodic import Chronicle

from tests.gateway.monitors import Served, a_monitor

T = TypeVar("T")


@contextmanager
def a_server(storage: Path, **settings: Any) -> Iterator[Served]:
    """The server, in a loop of its own thread, until the block ends."""
    with in_a_thread(a_monitor(storage, **settings)) as served:
        yield served


@contextmanager
def in_a_thread(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What an asynchronous context gives, kept in a loop of its own thread until the block ends."""
    found: list[T] = []
    failures: list[BaseException] = []
    ready, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with context as entered:
            found.append(entered)
            ready.set()
            await asyncio.to_thread(ended.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="a-server")
    thread.start()
    try:
        ready.wait()
        if failures:
            raise failures[0]
        yield found[0]
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


def a_client(served: Served, api_key: str = "sk_user_nobody_knows", **settings: Any) -> Chronicle:
    """A client of it."""
    return Chronicle(server_url=served.url, api_key=api_key, **settings)
