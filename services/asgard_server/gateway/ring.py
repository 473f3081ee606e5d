"""The newest events, encoded, so that any number of clients read them from their own position."""

from __future__ import annotations

from typing import NamedTuple

MAX_ENTRIES = 10_000
MAX_BYTES = 64 << 20
# What one send carries at most, so that a client that catches up does not hold the others.
_CHUNK_BYTES = 256 << 10


class Entry(NamedTuple):
    """One event as it goes to every client."""

    revision: int
    token: str
    text: bytes


class Ring:
    """The last 10,000 events or 64 MB of them.

    A position is the number of events ever put in before it. Positions stay valid
    for as long as the events behind them are kept; a reset makes every older
    position stand at the reset event itself.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[int, Entry] = {}
        self._positions: dict[str, int] = {}
        self._bytes = 0
        self._first = 0
        self._reset_at = 0
        self._floor: int | None = None
        self._promised = 0
        self._joined: tuple[int, int, bytes] = (-1, -1, b"")
        self.end = 0

    @property
    def first(self) -> int:
        """The oldest position that can be read from."""
        return self._first

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, revision: int, token: str) -> None:
        """Say from which revision on every event will be put in."""
        self._floor = revision
        if token:
            self._positions[token] = self.end

    def append(self, entry: Entry) -> None:
        """Put in the newest event."""
        if self._floor is None:
            self._floor = entry.revision - 1
        self._entries[self.end] = entry
        self.end += 1
        self._bytes += len(entry.text)
        if entry.token:
            self._positions[entry.token] = self.end
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop_oldest()

    def restart(self, entry: Entry) -> None:
        """Forget everything: `entry` says so to the clients, and is all that is kept."""
        self._entries.clear()
        self._positions.clear()
        self._bytes = 0
        # Behind every position that anybody holds, so that nobody is past the reset.
        self.end = max(self.end, self._promised)
        self._first = self._reset_at = self.end
        self._floor = entry.revision
        self.append(entry)

    def _drop_oldest(self) -> None:
        oldest = self._entries.pop(self._first)
        self._bytes -= len(oldest.text)
        self._first += 1
        self._floor = oldest.revision
        # The token of the dropped event is still good: everything behind it is here.
        # The ones before it are not.
        for token, position in tuple(self._oldest_tokens()):
            if position >= self._first:
                break
            del self._positions[token]

    def _oldest_tokens(self) -> list[tuple[str, int]]:
        found = []
        for token, position in self._positions.items():
            found.append((token, position))
            if position >= self._first:
                break
        return found

    def position_of(self, token: str) -> int | None:
        """Position behind the event that carried a token, None when it is not kept."""
        return self._positions.get(token)

    def position_behind(self, revision: int) -> int | None:
        """Position of the first event newer than a revision, None when some are not kept.

        Who has read the log himself may be ahead of the ring. Revisions are dense, one event
        each: so it is known where that event will be.
        """
        if self._floor is None or revision < self._floor:
            return None
        newest = self._entries[self.end - 1].revision if self._entries else self._floor
        if revision > newest:
            position = self.end + revision - newest
            self._promised = max(self._promised, position)
            return position
        low, high = self._first, self.end
        while low < high:
            middle = (low + high) // 2
            if self._entries[middle].revision <= revision:
                low = middle + 1
            else:
                high = middle
        return low

    def read(self, position: int) -> tuple[bytes, int] | None:
        """Events from a position on, as text, and the position behind them.

        Empty at the end; None when some of them are no longer kept.
        """
        if position >= self.end:
            return b"", position
        if position < self._reset_at:
            position = self._reset_at
        if position < self._first:
            return None
        start, stop, text = self._joined
        if start == position and stop == self.end:
            return text, stop
        texts: list[bytes] = []
        size, at = 0, position
        while at < self.end and size < _CHUNK_BYTES:
            texts.append(self._entries[at].text)
            size += len(texts[-1])
            at += 1
        text = texts[0] if len(texts) == 1 else b"".join(texts)
        self._joined = (position, at, text)
        return text, at
