"""The newest changes of a log, which all watchers share."""

from __future__ import annotations

from collections.abc import Iterable

from asgard_server.watching.frames import Event


class Ring(dict[int, Event]):
    """Changes by their revisions, `capacity` of them and `capacity_bytes` at the most.

    The last one is kept however large it is.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._bytes = 0

    def extend(self, events: Iterable[Event]) -> None:
        """Take in changes in their order, and forget the oldest ones beyond the bounds."""
        for event in events:
            self[event.revision] = event
            self._bytes += len(event.body)
        while len(self) > self._capacity or (self._bytes > self._capacity_bytes and len(self) > 1):
            self._bytes -= len(self.pop(next(iter(self))).body)

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._bytes = 0
