"""Work done by several threads, each with connections of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from gimle.asgard.transfer.errors import TransferStoppedError
from gimle.asgard.transfer.wire import Wire

LANES = 16
"""How many requests are under way at once. A file in parts takes one, the last one may take two."""

Task = Callable[[Wire], None]


class Work:
    """A queue of tasks. A task may add others: they come next, so that what is begun is ended."""

    def __init__(self, tasks: Iterable[Task], stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()
        self._tasks = deque(tasks)
        self._spare: list[Task] = []
        self._unfinished = len(self._tasks)
        self._changed = threading.Condition()
        self._failure: BaseException | None = None

    def add(self, tasks: Iterable[Task]) -> None:
        """Put tasks before all others."""
        with self._changed:
            before = len(self._tasks)
            self._tasks.extendleft(reversed(list(tasks)))
            self._unfinished += len(self._tasks) - before
            self._changed.notify_all()

    def spare(self, tasks: Iterable[Task]) -> None:
        """Put tasks aside: they come when only one other is left, and not at all when none is.

        They help whoever put them aside, and have nothing to do once it needs no help any more.
        """
        with self._changed:
            self._spare.extend(tasks)
            self._changed.notify_all()

    def check(self) -> None:
        """Raise TransferStoppedError when the work is to end."""
        if self._failure is not None or self.stop.is_set():
            raise TransferStoppedError

    def run(self, lanes: int = LANES) -> None:
        """Do all of it. The first failure, or `stop`, ends the rest, and is raised."""
        threads = [
            threading.Thread(target=self._lane, name=f"transfer-{number}", daemon=True)
            for number in range(lanes)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:  # Ctrl-C: the lanes end at their next chunk
            self._fail(error)
            for thread in threads:
                thread.join()
            raise
        if self._failure is not None:
            raise self._failure
        if self._unfinished:
            raise TransferStoppedError

    def _lane(self) -> None:
        with Wire() as wire:
            while (task := self._next()) is not None:
                try:
                    task(wire)
                except BaseException as error:  # noqa: BLE001 - raised by `run`, in its thread
                    self._fail(error)
                    return
                with self._changed:
                    self._unfinished -= 1
                    if self._unfinished <= 1:
                        self._changed.notify_all()

    def _next(self) -> Task | None:
        with self._changed:
            while not self._tasks:
                if self._spare and self._unfinished == 1:
                    self._tasks.extend(self._spare)
                    self._unfinished += len(self._spare)
                    self._spare.clear()
                    break
                if not self._unfinished or self._failure is not None or self.stop.is_set():
                    return None
                self._changed.wait(0.5)
            if self._failure is not None or self.stop.is_set():
                return None
            return self._tasks.popleft()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failure is None and not (
                isinstance(error, TransferStoppedError) and self.stop.is_set()
            ):
                self._failure = error
            self._changed.notify_all()
