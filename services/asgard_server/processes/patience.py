"""Waiting at the start for engines that do not answer yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

import structlog
from gimle.asgard.core.errors import StorageUnavailableError

T = TypeVar("T")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0

log = structlog.get_logger()


@asynccontextmanager
async def once_engines_answer(
    make: Callable[[], AbstractAsyncContextManager[T]], seconds: float, stopping: asyncio.Event
) -> AsyncIterator[T | None]:
    """What `make` makes, made again while an engine does not answer, for `seconds` at most.

    None when somebody wants to stop before. What waiting does not mend (a wrong password, an
    old schema) is raised at once.
    """
    async with AsyncExitStack() as stack:
        yield await _entered(stack, make, seconds, stopping)


async def _entered(
    stack: AsyncExitStack,
    make: Callable[[], AbstractAsyncContextManager[T]],
    seconds: float,
    stopping: asyncio.Event,
) -> T | None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    pause, said = _FIRST_PAUSE_S, False
    while not stopping.is_set():
        try:
            return await stack.enter_async_context(make())
        except StorageUnavailableError as error:
            left = deadline - loop.time()
            if not error.passing or left <= 0:
                raise
            if not said:
                log.warning("waiting for an engine", error=str(error), seconds=seconds)
                said = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_S)
    return None
