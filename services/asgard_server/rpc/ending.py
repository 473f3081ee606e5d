"""Work of a call that goes on when its caller is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_going_on: set[asyncio.Task[Any]] = set()
"""The loop alone would let them be collected."""


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; where whoever awaits it is cancelled, it goes on by itself.

    Raises what it raises. What it raises when nobody awaits it any more is nobody's.
    """
    task = asyncio.get_running_loop().create_task(work)
    _going_on.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()  # asked for, so that the loop does not speak of it
