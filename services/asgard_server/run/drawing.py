"""Where results are drawn: few at a time, however many of them wait for a store.

Drawing takes a core, waiting for bytes takes none. So a drawing that waits lets go of its turn,
and takes one again when the bytes are there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 2
"""Drawings that compute at a time: more would keep each other waiting for the interpreter."""

UNDER_WAY = 32
"""Drawings that compute or wait for bytes; others wait for one of these to end."""

_here = threading.local()


class Drawing(Executor):
    """A pool whose work may call `waiting`, wherever it has to wait for others."""

    def __init__(self, at_once: int = AT_ONCE, under_way: int = UNDER_WAY) -> None:
        self._turns = threading.Semaphore(at_once)
        self._pool = ThreadPoolExecutor(under_way, "asgard-draw")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a thread of the pool, when it is its turn."""

        def drawn() -> T:
            with self._turns:
                _here.turns = self._turns
                try:
                    return fn(*args, **kwargs)
                finally:
                    _here.turns = None

        return self._pool.submit(drawn)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As that of any pool."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@contextmanager
def waiting() -> Iterator[None]:
    """Let another drawing compute while this thread waits inside; elsewhere it does nothing."""
    turns: Any = getattr(_here, "turns", None)
    if turns is None:
        yield
        return
    _here.turns = None  # what waits inside has let go already
    turns.release()
    try:
        yield
    finally:
        turns.acquire()
        _here.turns = turns
