"""Who listens to /api/updates, and what each may hear of (docs/protocols.md 11)."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections import deque

from asgard_server.auth.principal import EVERYONE, Principal
from asgard_server.gateway.event_stream import event
from asgard_server.gateway.ring import MAX_ENTRIES, Entry
from asgard_server.gateway.told import EVERYBODY, Readers
from asgard_server.watching.readers import said

# Ids of who may not see everything end with it and a mark.
MARKS = "~"


class Listener:
    """One stream, and what its caller may hear of.

    `keys` None: of everything. `mark` ends the ids that it is told: it is the same for those who
    may hear of the same, and empty for who hears of everything. `due` are the positions in the ring
    of what it has yet to be told, once it has caught up; `woken` is set when there are some, and
    `late` when there were too many.
    """

    __slots__ = ("due", "keys", "late", "mark", "woken")

    def __init__(self, who: Principal | None = None) -> None:
        self.keys = None if who is None or who.sees_everything else who.keys
        self.mark = "" if self.keys is None else MARKS + _mark(self.keys)
        self.due: deque[int] = deque()
        self.woken = asyncio.Event()
        self.late = False

    def told(self, entry: Entry) -> bytes:
        """An event as it goes to this one; empty for what is not for its ears."""
        if self.keys is None:
            return entry.text
        seen, kept, lost = entry.readers
        how = said(self.keys, seen=seen, kept=kept, lost=lost)
        if how is None:
            return b""
        data = entry.gone if how == "gone" else entry.data
        return event(data, entry.id and entry.id + self.mark)


class Listeners:
    """Those who may not hear of everything and have caught up, by the keys of principals.

    So what a change costs follows from how many it concerns, and not from how many listen.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, set[Listener]] = {}
        self._ringing: set[Listener] = set()

    def enter(self, listener: Listener) -> None:
        """From here on it hears what concerns it."""
        for key in listener.keys or ():
            self._by_key.setdefault(key, set()).add(listener)

    def leave(self, listener: Listener) -> None:
        """Forget a listener; one that never entered, too."""
        self._ringing.discard(listener)
        for key in listener.keys or ():
            others = self._by_key.get(key, set())
            others.discard(listener)
            if not others:
                self._by_key.pop(key, None)

    def address(self, position: int, readers: Readers) -> None:
        """Let those whom an event concerns hear of it, when the bell rings."""
        if not self._by_key:
            return
        concerned: set[Listener] = set()
        for key in readers.seen | readers.lost:
            concerned |= self._by_key.get(key, set())
        for listener in concerned:
            if len(listener.due) >= MAX_ENTRIES:
                listener.late = True
            else:
                listener.due.append(position)
        self._ringing |= concerned

    def restart(self, position: int) -> None:
        """What was kept is forgotten: everybody hears that, and what follows."""
        for listener in self._by_key.get(EVERYONE, ()):
            listener.due.clear()
            listener.late = False
        self.address(position, EVERYBODY)

    def wake(self, *, everybody: bool = False) -> None:
        """Wake those who have something to hear, or everybody."""
        for listener in self._by_key.get(EVERYONE, ()) if everybody else self._ringing:
            listener.woken.set()
        self._ringing.clear()


def _mark(keys: frozenset[str]) -> str:
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).digest()
    return urlsafe_b64encode(digest[:9]).decode()
