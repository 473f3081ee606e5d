"""Which files and parts come to a store through a relay, and which of them a second time."""

from __future__ import annotations

import re
import threading
from collections import Counter

from tests.sdk.relay import Relay

_PUT = re.compile(rb"PUT (/[^ ?]+)\S*?(?:[?&]partNumber=(\d+)\S*)? HTTP/1\.1\r\n")


class Puts:
    """How often each part of each key has been put through a relay, 0 for a whole file.

    From `mark` bytes on nothing passes until the relay's `released` is set: a kill comes just then.
    Before, each 64 KiB of a connection wait `slow_s`.
    """

    def __init__(self, relay: Relay, mark: int, slow_s: float = 0.0) -> None:
        self.begun: Counter[tuple[bytes, int]] = Counter()
        self._relay, self._slow_s, self._lock = relay, slow_s, threading.Lock()
        relay.released.clear()
        relay.reached.clear()
        relay.mark = relay.up + relay.down + mark
        relay.holds = self._told

    def _told(self, data: bytes) -> bool:
        # A client waits for its answer before the next request, unless files are far smaller than
        # those of the tests that count: so its head begins what comes.
        if put := _PUT.match(data):
            with self._lock:
                self.begun[put[1], int(put[2] or 0)] += 1
        if self._relay.reached.is_set():
            return True
        if self._slow_s:
            self._relay.released.wait(self._slow_s)
        return False

    def twice(self) -> dict[bytes, list[int]]:
        """The parts of each key that came more than once."""
        found: dict[bytes, list[int]] = {}
        for (key, part), count in sorted(self.begun.items()):
            if count > 1:
                found.setdefault(key, []).append(part)
        return found
