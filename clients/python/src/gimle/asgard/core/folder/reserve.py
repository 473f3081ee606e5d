"""Room kept back, so that a full disk can still be deleted from."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from gimle.asgard.core.folder import files
from gimle.asgard.core.folder.layout import Layout

# What a marker that names some ten thousand results and arrays takes.
SIZE = 1 << 20
# It is kept back while the disk has so many times as much left.
_ROOM = 8
FULL = {errno.ENOSPC, errno.EDQUOT}

P = ParamSpec("P")
T = TypeVar("T")


class Reserve:
    """A file of `SIZE` bytes that says nothing and is given up when a delete finds no room.

    A delete begins by writing down what it will remove; on a disk without room that is
    what could not be written. It is then written over this file, because room that is given
    back is taken by whoever saves at that moment.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = f"{layout.deleting}/_reserve"

    def keep(self) -> None:
        """Make the file unless it is there, or there is little room; fail silently."""
        if os.path.lexists(self._path):
            return
        temporary = f"{self._layout.deleting}/{files.temporary_name()}"
        with suppress(OSError):
            disk = os.statvfs(self._layout.deleting)
            if disk.f_bavail * disk.f_frsize < _ROOM * SIZE:
                return
            try:
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                try:
                    _fill(fd)
                finally:
                    os.close(fd)
                files.place_new(temporary, self._path)
            except BaseException:
                files.remove(temporary)
                raise

    def become(self, path: str, body: bytes, *, durable: bool) -> bool:
        """Write a file where the room is, so that nobody else gets it; False when it is spent."""
        temporary = f"{self._layout.deleting}/{files.temporary_name()}"
        try:
            os.rename(self._path, temporary)
        except FileNotFoundError:
            return False
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CLOEXEC)
            try:
                files.write_all(fd, body)
                os.ftruncate(fd, len(body))
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            files.remove(temporary)
            raise
        if durable:
            files.sync_folder(self._layout.deleting)
        return True

    def spend(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`; if it finds no room, give the file up and do it once more."""
        try:
            answer = work(*args, **kwargs)
        except OSError as error:
            if error.errno not in FULL or not files.remove(self._path):
                raise
            answer = work(*args, **kwargs)
        self.keep()
        return answer


def _fill(fd: int) -> None:
    """Take the room, not only the length."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, SIZE)
    else:
        files.write_all(fd, bytes(SIZE))
