"""How far a transfer is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_AT_MOST_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """What there is to do and what is done; `bytes_moved` went over the wire."""

    files: int
    bytes: int
    files_done: int = 0
    bytes_done: int = 0
    bytes_moved: int = 0


Listener = Callable[[Progress], None]


class Meter:
    """Counts for all lanes, and tells the listener ten times a second at most."""

    def __init__(self, files: int, bytes: int, listener: Listener | None) -> None:
        self._total = files, bytes
        self._done = [0, 0, 0]
        self._listener = listener
        self._told = 0.0
        self._lock = threading.Lock()

    def add(self, files: int = 0, done: int = 0, moved: int = 0) -> None:
        """Count: files ended, bytes done, of these bytes moved."""
        with self._lock:
            for place, more in enumerate((files, done, moved)):
                self._done[place] += more
            now = time.monotonic()
            if self._listener is None or now - self._told < _AT_MOST_EVERY_S:
                return
            self._told = now
            self._listener(self.now())

    def now(self) -> Progress:
        """The present state."""
        return Progress(*self._total, *self._done)

    def end(self) -> Progress:
        """The last state, told in any case."""
        if self._listener is not None:
            self._listener(self.now())
        return self.now()
