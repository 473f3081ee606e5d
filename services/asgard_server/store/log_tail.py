"""What this process has just logged itself, so that telling of it needs no look at the log."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from asgard_server.run.store import Change, Key, News, ResultRow, RunRow

# A reader looks every hundredth of a second; one that is further behind looks into the log.
KEPT = 1_000

Logged = tuple[Change, RunRow]


class LogTail:
    """The newest entries of the log whose rows are known; for use from any thread.

    It never says that there are no others: another process may have logged behind them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = ""
        self._entries: dict[int, Logged] = {}

    def add(self, epoch: str, logged: Sequence[Logged]) -> None:
        """Take in entries that were committed."""
        with self._lock:
            if epoch != self._epoch:
                self._epoch = epoch
                self._entries.clear()
            for one in logged:
                self._entries[one[0].revision] = one
            while len(self._entries) > KEPT:
                del self._entries[next(iter(self._entries))]

    def behind(self, epoch: str, revision: int, limit: int) -> News | None:
        """The entries of `epoch` that follow `revision` without a gap; None without any."""
        changes: list[Change] = []
        rows: dict[Key, RunRow | ResultRow] = {}
        with self._lock:
            if epoch != self._epoch:
                return None
            while len(changes) < limit and (one := self._entries.get(revision + 1)):
                revision += 1
                changes.append(one[0])
                rows[one[0].key] = one[1]
        return News(epoch, revision, changes, rows) if changes else None
