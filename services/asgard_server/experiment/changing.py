"""What all who change experiments have in common: where these are kept, a clock, who is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from asgard_server.experiment.store import Rows, Shelf

T = TypeVar("T")


class Changing:
    """Changes what lies on `shelf`. `told` is called after each change: watchers are to look."""

    def __init__(
        self, shelf: Shelf, clock: Callable[[], datetime], told: Callable[[], Awaitable[None]]
    ) -> None:
        self._shelf = shelf
        self._clock = clock
        self._told = told

    async def _change(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        answer = await self._shelf.change(work)
        await self._told()
        return answer
