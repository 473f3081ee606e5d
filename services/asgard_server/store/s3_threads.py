"""Threads for what waits for the store, or works long, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16


class Threads:
    """The threads of one place in S3."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "asgard-s3")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do this in one of them."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

    async def close(self) -> None:
        """Let them end what they are at."""
        await asyncio.to_thread(self._pool.shutdown)
