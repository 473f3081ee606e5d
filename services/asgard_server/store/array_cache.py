"""Array files that were downloaded, on this machine's disk: bounded, and whole or not there."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path

from asgard_server.store.sparse_file import Fetch, SparseFile

# Files that are filled as they are looked at, open at a time.
_MOST_OPEN = 256


class ArrayCache:
    """Files named by the digest of what they are; for use from any thread.

    The longest unused go when they are more than `most_bytes` together. A file that somebody
    has mapped stays readable to him. Processes may share the folder.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        self._sparse: OrderedDict[str, SparseFile] = OrderedDict()
        there = [(entry.stat(), entry.name) for entry in os.scandir(folder) if entry.is_file()]
        for stat, name in sorted(there, key=lambda one: one[0].st_mtime_ns):
            if name.endswith(".npy"):
                self._count(name, stat.st_size)

    def path(self, identity: str, write: Callable[[int], bool]) -> str | None:
        """The file of what `identity` names, written by `write` to a handle if it is not there.

        None when `write` answers False: there is no such thing.
        """
        name = f"{blake2b(identity.encode(), digest_size=16).hexdigest()}.npy"
        path = f"{self._folder}/{name}"
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        try:
            with making:  # whoever wants the same waits, and finds it
                if self._used(name, path) or self._make(name, path, write):
                    return path
                return None
        finally:
            with self._lock:
                self._making.pop(name, None)

    def found(self, identity: str) -> str | None:
        """The file of what `identity` names, if it is there whole."""
        name = f"{blake2b(identity.encode(), digest_size=16).hexdigest()}.npy"
        path = f"{self._folder}/{name}"
        return path if name in self._sizes and self._used(name, path) else None

    def sparse(self, identity: str, size: int, fetch: Fetch) -> SparseFile:
        """A file of `size` bytes of what `identity` names, filled by `fetch` as it is read.

        It lasts as long as this process, and counts with what has been fetched of it.
        """
        name = f"{blake2b(identity.encode(), digest_size=16).hexdigest()}.sparse"
        with self._lock:
            there = self._sparse.get(name)
            if there is None:
                handle, path = tempfile.mkstemp(prefix=".", dir=self._folder)
                os.unlink(path)
                told = partial(self._grown, name)
                there = SparseFile(handle, size, fetch, told)
                self._sparse[name] = there
                self._count(name, 0)
                while len(self._sparse) > _MOST_OPEN:
                    oldest, _ = self._sparse.popitem(last=False)
                    self._bytes -= self._sizes.pop(oldest, 0)
            elif name in self._sizes:
                self._sizes.move_to_end(name)
            self._sparse.move_to_end(name)
            return there

    def _grown(self, name: str, taken: int) -> None:
        with self._lock:
            if name in self._sparse:
                self._count(name, taken)
                self._make_room(name)

    def _used(self, name: str, path: str) -> bool:
        try:
            os.utime(path)  # so that a later process knows its age
            size = os.stat(path).st_size
        except FileNotFoundError:
            return False
        with self._lock:
            if name not in self._sizes:
                self._count(name, size)
            self._sizes.move_to_end(name)
        return True

    def _make(self, name: str, path: str, write: Callable[[int], bool]) -> bool:
        handle, temporary = tempfile.mkstemp(prefix=".", dir=self._folder)
        try:
            try:
                if not write(handle):
                    os.unlink(temporary)
                    return False
                size = os.fstat(handle).st_size
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        with self._lock:
            self._count(name, size)
            self._make_room(name)
        return True

    def _count(self, name: str, size: int) -> None:
        self._bytes += size - self._sizes.pop(name, 0)
        self._sizes[name] = size

    def _make_room(self, kept: str) -> None:
        while self._bytes > self._most and (oldest := next(iter(self._sizes))) != kept:
            self._bytes -= self._sizes.pop(oldest)
            if self._sparse.pop(oldest, None) is None:
                Path(self._folder, oldest).unlink(missing_ok=True)
