"""Who watches a log: where each one is, and whom a change may concern."""

from __future__ import annotations

import asyncio
from collections import deque

from asgard_server.watching.audience import Audience
from asgard_server.watching.frames import Event
from asgard_server.watching.tokens import TokenMaker


class Watcher:
    """One call: where it is, and how its tokens look.

    One who may not see everything, and has caught up, has `due` changes, and hears of no others.
    """

    __slots__ = ("audience", "caught_up", "due", "epoch", "moved", "revision", "scope", "tokens")

    epoch: str
    revision: int
    tokens: TokenMaker

    def __init__(self, scope: str, audience: Audience | None) -> None:
        self.scope = scope
        self.audience = audience
        self.caught_up = False
        self.due: deque[int] = deque()
        self.moved = asyncio.Event()

    @property
    def name(self) -> str:
        """In its tokens: the same for those who are told of the same."""
        if self.audience is None or not self.audience.name:
            return self.scope
        return f"{self.audience.name}\n{self.scope}" if self.scope else self.audience.name

    @property
    def keys(self) -> frozenset[str] | None:
        """By which it is found; None for one who hears of every change."""
        return None if self.audience is None else self.audience.keys

    @property
    def told_as(self) -> str:
        """The same for those whose messages are the same: services are told more."""
        is_service = self.audience is not None and self.audience.is_service
        return f"{self.name}/service" if is_service else self.name

    def position(self, head: int) -> int:
        """Up to where there is nothing that it has yet to hear of."""
        if self.keys is None or not self.caught_up:
            return self.revision
        return self.due[0] - 1 if self.due else head

    def wants(self, batch: list[Event]) -> list[Event]:
        """Those that this watcher wants to hear of, as it is told of them."""
        wanted = [each for each in batch if self.scope in ("", each.scope)]
        return wanted if self.audience is None else self.audience.told(wanted)


class Watchers(set[Watcher]):
    """All who watch; of those who have caught up, who is to hear of what."""

    def __init__(self) -> None:
        super().__init__()
        self._by_key: dict[str, set[Watcher]] = {}

    def begin(self) -> None:
        """Let all catch up anew: the log is another one, or nobody has watched."""
        self._by_key.clear()
        for watcher in self:
            watcher.caught_up = False
            watcher.due.clear()
        self.wake()

    def address(self, event: Event) -> None:
        """Let those whom a change may concern hear of it: what it costs follows who they are."""
        if not self._by_key:
            return
        concerned: set[Watcher] = set()
        if event.guard is None:
            concerned.update(*self._by_key.values())
        else:
            for key in event.guard.seen | event.guard.lost:
                concerned |= self._by_key.get(key, set())
        for watcher in concerned:
            # One who read the log itself may have come further than the reader.
            if event.revision > watcher.revision:
                watcher.due.append(event.revision)
                watcher.moved.set()

    def enlist(self, watcher: Watcher) -> None:
        """From here on a watcher hears of what concerns it, and stands where the reader does."""
        watcher.caught_up = True
        for key in watcher.keys or ():
            self._by_key.setdefault(key, set()).add(watcher)

    def unlist(self, watcher: Watcher) -> None:
        """From here on a watcher hears of nothing: it is to catch up, or has left."""
        watcher.caught_up = False
        watcher.due.clear()
        for key in watcher.keys or ():
            others = self._by_key.get(key, set())
            others.discard(watcher)
            if not others:
                self._by_key.pop(key, None)

    def wake(self) -> None:
        """Let all look at once what there is."""
        for watcher in self:
            watcher.moved.set()
