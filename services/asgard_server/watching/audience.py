"""Who watches a log whose changes are not for everybody (docs/protocols.md 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from asgard_server.watching.frames import Event
from asgard_server.watching.readers import said


@dataclass(frozen=True, slots=True)
class Audience:
    """A watcher's principal.

    `name` is the same for those who are told of the same. `keys` stand in readers; None: it sees
    everything. `is_service`: it is told who could and can read what. `everything` is what it may
    read now, without revisions.
    """

    name: str
    keys: frozenset[str] | None
    is_service: bool
    everything: Callable[[], AsyncIterator[list[Event]]]

    def told(self, events: Iterable[Event]) -> list[Event]:
        """These changes as this audience is told of them."""
        return [said for event in events if (said := self._said(event)) is not None]

    def _said(self, event: Event) -> Event | None:
        guard = event.guard
        if guard is None:
            return event
        if self.keys is None:
            told = event.body + guard.readers if self.is_service else event.body
            return event._replace(body=told)
        how = said(self.keys, seen=guard.seen, kept=guard.kept, lost=guard.lost)
        return event._replace(body=guard.gone) if how == "gone" else event if how else None
