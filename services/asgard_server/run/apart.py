"""Work that may be large, done where the event loop does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")

# What the loop may parse or hash itself; more goes to a thread.
SMALL_BYTES = 65_536


async def apart(size: int, work: Callable[..., Answer], *arguments: Any) -> Answer:
    """Do pure work here when it is small, else in a thread: the loop must not wait for it."""
    if size <= SMALL_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
