"""What the index has just read, so that hearing of one's own writes costs a stat and no more."""

from __future__ import annotations

from collections.abc import Callable

from asgard_server.run.store import Key

# Two generations of so many are kept: the bell rings within a tenth of a second.
GENERATION = 4_096


class FreshReads:
    """The stamps of the documents that the index read last; for use from any thread.

    The index reads a document in order to write its row: what still has the stamp it had
    then needs no look-up of that row. A row that could not be written after all is like
    one whose bell was lost: the scan finds it. `stamp` answers a document's stamp now,
    None when there is none.
    """

    def __init__(self, stamp: Callable[[Key], str | None]) -> None:
        self._stamp = stamp
        self._young: dict[Key, str | None] = {}
        self._old: dict[Key, str | None] = {}

    def note(self, key: Key, stamp: str | None) -> None:
        """Say that the index has read a document, None when it found it gone."""
        young = self._young
        young[key] = stamp
        if len(young) >= GENERATION:
            self._old, self._young = young, {}

    def is_news(self, key: Key) -> bool:
        """Whether a document is not as the index read it last, or was not read lately."""
        young, old = self._young, self._old
        if key in young:
            read = young[key]
        elif key in old:
            read = old[key]
        else:
            return True
        try:
            return self._stamp(key) != read
        except OSError:  # let the index meet it, and say so
            return True
