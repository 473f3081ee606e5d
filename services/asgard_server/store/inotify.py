"""The kernel's own bell for folders (Linux), read as rarely as it can be.

A thread that waits for each event costs its writer a wake-up per event: 40 us of a create
that takes 500. Here events gather in the kernel while the reader sleeps, and are read together.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Sequence

# Of inotify(7): a name that came, went, or was closed by one who may have written to it.
_MASK = 0x08 | 0x40 | 0x80 | 0x100 | 0x200  # CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE
_ONLY_FOLDERS = 0x0100_0000
_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_READ = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)

HERE = sys.platform == "linux" and hasattr(_libc, "inotify_init1")


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


class OverflowedError(Exception):
    """More happened than the kernel keeps: what is not known."""


class Inotify:
    """Watches folders, not what is below them. Raises OSError when they cannot be watched.

    To be read by one thread, and closed when the block ends.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._wake = -1
        try:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._folders = {
                _checked(
                    _libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK | _ONLY_FOLDERS)
                ): path
                for path in folders
            }
        except BaseException:
            self.close()
            raise
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.close()

    def close(self) -> None:
        """Stop watching."""
        for fd in (self._fd, self._wake):
            if fd >= 0:
                os.close(fd)
        self._fd = self._wake = -1

    def interrupt(self) -> None:
        """Let `paths` end at once; from any thread."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def paths(self, wait_ms: int, step_ms: int, most_ms: int) -> set[str]:
        """Wait for an event, then until a step brings none or `most_ms` are over; all paths.

        Empty when none came in `wait_ms`, or when interrupted. Raises `OverflowedError`.
        """
        if all(fd != self._fd for fd, _ in self._poll.poll(wait_ms)):
            return set()
        paths: set[str] = set()
        deadline = time.monotonic() + most_ms / 1_000
        while True:
            time.sleep(step_ms / 1_000)
            more = self._read()
            paths |= more
            if not more or time.monotonic() >= deadline:
                return paths

    def _read(self) -> set[str]:
        try:
            events = os.read(self._fd, _READ)
        except BlockingIOError:
            return set()
        paths: set[str] = set()
        at = 0
        while at < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size
            if mask & _OVERFLOW:
                raise OverflowedError
            # Not so for what is said of the folder itself.
            if length and (folder := self._folders.get(watch)) is not None:
                name = events[at : at + length].rstrip(b"\0")
                paths.add(f"{folder}/{os.fsdecode(name)}")
            at += length
        return paths
