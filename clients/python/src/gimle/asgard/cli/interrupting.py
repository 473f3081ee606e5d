"""Ctrl-C that leaves nothing half done: the first asks, a second one a moment later insists."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""What a shell makes of a program ended by SIGINT."""
PATIENCE_S = 1.0
"""A second signal within this time is the same Ctrl-C, passed on by a parent (uv, a shell)."""


class Interruptions:
    """While entered, SIGINT, SIGTERM and SIGHUP set `stop`; one more after a second interrupts.

    `gently`: whether the work looks at `stop` by now. Before, the first interrupts, too.
    """

    def __init__(self, gently: Callable[[], bool] = lambda: True) -> None:
        self.stop = threading.Event()
        self._gently = gently
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.stop.is_set():
            self._first = now
            self.stop.set()
            if not self._gently():
                raise KeyboardInterrupt
        elif now - self._first > PATIENCE_S:
            raise KeyboardInterrupt
