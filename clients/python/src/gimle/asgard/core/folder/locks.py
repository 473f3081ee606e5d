"""Locks between processes, and between the threads of one.

flock(2) on files that are never removed (a document is no place for a lock: renaming
replaces its inode). The kernel frees the locks of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from gimle.asgard.core.folder.layout import LOCKS, Layout, stripe

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


class Locks:
    """The 64 locks of a folder, each for the runs whose id hashes to it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        self._threads = [threading.Lock() for _ in range(LOCKS)]
        self._files: dict[int, int] = {}
        self._held: set[int] = set()

    @contextmanager
    def run(self, run_id: str) -> Iterator[None]:
        """Be the only one, of all processes, who rewrites this run."""
        number = stripe(run_id)
        with self._threads[number]:
            fd = self._lock(number, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)

    @contextmanager
    def run_if_free(self, run_id: str) -> Iterator[bool]:
        """Be the only one, or answer False at once when somebody else is."""
        number = stripe(run_id)
        if not self._threads[number].acquire(blocking=False):
            yield False
            return
        try:
            try:
                fd = self._lock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            self._threads[number].release()

    def _lock(self, number: int, operation: int) -> int:
        """Lock the file of a number, as it is now: somebody may have removed `.asgard/`."""
        while True:
            fd = self._files.get(number)
            if fd is None:
                fd = self._files[number] = self._open(number)
            fcntl.flock(fd, operation)
            if os.fstat(fd).st_nlink:
                return fd
            del self._files[number]
            os.close(fd)

    def _open(self, number: int) -> int:
        path = f"{self._layout.locks}/{number:02}"
        try:
            return os.open(path, _OPEN, 0o666)
        except FileNotFoundError:
            # `.asgard/` may be removed; the folder itself may not.
            os.stat(self._layout.runs)
            for folder in self._layout.folders:
                if folder.startswith(self._layout.hidden):
                    os.makedirs(folder, exist_ok=True)
            return os.open(path, _OPEN, 0o666)

    def hold(self, fd: int) -> None:
        """Remember a locked file, so that a forked child does not keep it locked."""
        self._held.add(fd)

    def release(self, fd: int) -> None:
        """Close a file given to `hold`, which frees its lock."""
        self._held.discard(fd)
        os.close(fd)

    def close(self) -> None:
        """Close the files. They open again when needed."""
        for number in list(self._files):
            with self._threads[number]:
                fd = self._files.pop(number, None)
                if fd is not None:
                    os.close(fd)

    def __del__(self) -> None:
        for fd in self._files.values():
            os.close(fd)

    def after_fork(self) -> None:
        """Give up, in a forked child, what belongs to its parent.

        Closing does not unlock while the parent has the file open; not closing would keep
        it locked after the parent's death.
        """
        for fd in (*self._files.values(), *self._held):
            os.close(fd)
        self._forget()


_all: weakref.WeakSet[Locks] = weakref.WeakSet()


def _after_fork() -> None:
    for locks in list(_all):
        locks.after_fork()


os.register_at_fork(after_in_child=_after_fork)
