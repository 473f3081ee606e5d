"""The port of the bell: it says that a change log has moved, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Feed(Protocol):
    """Rings when a topic reaches a revision.

    A ring may be lost, late, doubled or out of order, and rings may be coalesced:
    the change log is the truth, a listener that is not rung polls it.
    """

    async def ring(self, topic: str, revision: int) -> None:
        """Say that `topic` has reached `revision`. Never raises for an unreachable bell."""

    def listen(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[int]]:
        """Yield revisions of `topic` rung after entering; coalesced to the newest."""
