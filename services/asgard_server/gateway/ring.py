"""The newest events, encoded, so that any number of clients read them from their own position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import NamedTuple

from asgard_server.gateway.told import EVERYBODY, Readers

MAX_ENTRIES = 10_000
MAX_BYTES = 64 << 20
# What one send carries at most, so that a client that catches up does not hold the others.
_CHUNK_BYTES = 256 << 10
# And how many events are looked at for it.
_CHUNK_ENTRIES = 1_000
# What the name of a reader takes in memory, about.
_READER_BYTES = 80

Seen = Mapping[int, int]
"""What a client has seen: of each log, by its number, the revision up to which."""


class Entry(NamedTuple):
    """One event; `text` is how it goes to every client that may see everything.

    `log` says of which change log it is, `token` is that log's alone: the `id` that the event
    carries may say more. `data` is told to those of `readers` who may read what it is of, `gone` to
    those who could before.
    """

    revision: int
    token: str
    text: bytes
    log: int = 0
    id: str = ""
    data: bytes = b""
    gone: bytes = b""
    readers: Readers = EVERYBODY

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        taken = len(self.text) + len(self.data) + len(self.gone)
        if self.readers is EVERYBODY:
            return taken
        return taken + _READER_BYTES * (len(self.readers.kept) + len(self.readers.lost))


class Some(NamedTuple):
    """Some events as text, empty when none of them is for this client, and the position behind."""

    text: bytes
    behind: int


class Ring:
    """The last 10,000 events or 64 MB of them, of several change logs, as they came.

    A position is the number of events ever put in before it. Positions stay valid for as long as
    the events behind them are kept; a reset makes every older position stand at the reset event
    itself. Of each log the revisions are dense, one event each.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[int, Entry] = {}
        self._places: dict[tuple[int, int], int] = {}
        self._revisions: dict[int, dict[str, int]] = {}
        # By log: the revision behind which everything is here, and the newest that is.
        self._floor: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._bytes = 0
        self._first = 0
        self._reset_at = 0
        self._joined: tuple[int, int, bytes] = (-1, -1, b"")
        self.end = 0
        self.restarts = 0

    @property
    def first(self) -> int:
        """The oldest position that can be read from."""
        return self._first

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, revision: int, token: str, log: int = 0) -> None:
        """Say from which revision on every event of a log will be put in."""
        self._floor[log] = self._newest[log] = revision
        if token:
            self._revisions.setdefault(log, {})[token] = revision

    def append(self, entry: Entry) -> None:
        """Put in the newest event."""
        log = entry.log
        self._floor.setdefault(log, entry.revision - 1)
        self._newest[log] = entry.revision
        self._entries[self.end] = entry
        self._places[log, entry.revision] = self.end
        self.end += 1
        self._bytes += entry.size
        if entry.token:
            self._revisions.setdefault(log, {})[entry.token] = entry.revision
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop_oldest()

    def restart(self, entry: Entry) -> None:
        """Forget everything: `entry` says so to the clients, and is all that is kept.

        Of its log the events behind its revision follow; the other logs go on where they are.
        """
        self.restarts += 1
        self._entries.clear()
        self._places.clear()
        self._revisions.clear()
        self._bytes = 0
        self._first = self._reset_at = self.end
        self._floor = dict(self._newest)
        self._floor[entry.log] = self._newest[entry.log] = entry.revision
        self._entries[self.end] = entry
        self.end += 1
        self._bytes += entry.size
        if entry.token:
            self._revisions[entry.log] = {entry.token: entry.revision}

    def _drop_oldest(self) -> None:
        oldest = self._entries.pop(self._first)
        self._bytes -= oldest.size
        self._first += 1
        before = self._floor[oldest.log]
        self._floor[oldest.log] = max(before, oldest.revision)
        self._places.pop((oldest.log, oldest.revision), None)
        # The token of the dropped event is still good: everything behind it is here.
        # The ones before it are not.
        known = self._revisions.get(oldest.log, {})
        while known and known[token := next(iter(known))] < self._floor[oldest.log]:
            del known[token]

    def revision_of(self, token: str, log: int = 0) -> int | None:
        """The revision that a token of a log stands for, None when it is not kept."""
        return self._revisions.get(log, {}).get(token)

    def newest(self, log: int) -> int:
        """The newest revision of a log that is here, -1 before there is one."""
        return self._newest.get(log, -1)

    def position_behind(self, seen: Seen) -> int | None:
        """Position of the first event that somebody has not seen, None when some are not kept.

        Some behind it he may have seen: `unseen` leaves those out.
        """
        position = self.end
        for log, revision in seen.items():
            floor = self._floor.get(log)
            if floor is None or revision < floor:
                return None
            following = self._places.get((log, revision + 1))
            if following is not None:
                position = min(position, following)
        return position

    def unseen(
        self, position: int, seen: Seen, told: Callable[[Entry], bytes] = attrgetter("text")
    ) -> Some | None:
        """Events from a position on that somebody has not seen, as `told` says; else as `read`.

        To be asked until `restarts` grows, or the ring holds all that he has seen.
        """
        position = max(position, self._reset_at)
        if position < self._first:
            return None
        texts: list[bytes] = []
        size, until = 0, min(self.end, position + _CHUNK_ENTRIES)
        while position < until and size < _CHUNK_BYTES:
            entry = self._entries[position]
            position += 1
            if entry.revision > seen.get(entry.log, -1) and (text := told(entry)):
                texts.append(text)
                size += len(text)
        return Some(b"".join(texts), position)

    def at(self, position: int) -> Entry | None:
        """The event at a position, None when it is no longer kept."""
        return self._entries.get(position)

    def holds_all_of(self, seen: Seen) -> bool:
        """Whether whoever has seen so much will see nothing twice from the end on."""
        return all(self.newest(log) >= revision for log, revision in seen.items())

    def read(self, position: int) -> Some | None:
        """Events from a position on, as text, and the position behind them.

        Empty at the end; None when some of them are no longer kept.
        """
        if position >= self.end:
            return Some(b"", position)
        if position < self._reset_at:
            position = self._reset_at
        if position < self._first:
            return None
        start, stop, text = self._joined
        if start == position and stop == self.end:
            return Some(text, stop)
        texts: list[bytes] = []
        size, at = 0, position
        while at < self.end and size < _CHUNK_BYTES:
            texts.append(self._entries[at].text)
            size += len(texts[-1])
            at += 1
        text = texts[0] if len(texts) == 1 else b"".join(texts)
        self._joined = (position, at, text)
        return Some(text, at)
