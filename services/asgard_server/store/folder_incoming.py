"""Bytes of requests on their way into a folder: a file that appears under its name whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from asgard_server.store.folder_digests import note_digest


class Incoming:
    """Bytes of one request on their way into the folder; hashed as they come.

    `write` is to be called in a thread. Whoever does not call `place` leaves nothing behind.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._file = _begun(folder, lambda path: path.open("xb"), fcntl.LOCK_EX)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Take more bytes."""
        self._file.write(piece)
        self._hash.update(piece)
        self.size_bytes += len(piece)

    def sha256(self) -> str:
        """The digest of what has come so far."""
        return self._hash.hexdigest()

    def place(self, path: Path, *, once: bool) -> bool:
        """Let the bytes appear at `path`, whole; with `once` only where there are none yet."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return self.place_inside(path, once=once)

    def place_inside(self, path: Path, *, once: bool) -> bool:
        """Do as `place` in a folder that must be there. Raises FileNotFoundError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if once:
            return appear(self._path, path, self.sha256())
        os.replace(self._path, path)
        sync_folder(path.parent)
        return True

    def close(self) -> None:
        """Let go of what was not placed."""
        self._file.close()
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def held_fast(folder: Path, source: Path) -> Iterator[Path]:
    """One more name of the bytes at `source`, which are these whatever comes there meanwhile.

    Raises FileNotFoundError where there are none.
    """

    def linked(path: Path) -> BinaryIO:
        os.link(source, path)
        return path.open("rb")

    folder.mkdir(parents=True, exist_ok=True)
    path, file = _begun(folder, linked, fcntl.LOCK_SH)  # others may hold the same bytes
    try:
        yield path
    finally:
        file.close()
        path.unlink(missing_ok=True)


def _begun(folder: Path, make: Callable[[Path], BinaryIO], lock: int) -> tuple[Path, BinaryIO]:
    """A new file, locked for as long as its maker lives."""
    while True:
        path = folder / secrets.token_hex(16)
        file = make(path)
        fcntl.flock(file, lock)
        if path.exists():  # else it was taken for abandoned before it was locked
            return path, file
        file.close()


def remove_abandoned(folder: Path) -> None:
    """Remove what requests have left whose process has died, in a thread."""
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its writer lives: BlockingIOError
            path.unlink()


def appear(made: Path, path: Path, sha256: str) -> bool:
    """Let a file whose bytes are on the disk appear at `path`; False where there is one."""
    try:
        os.link(made, path)
    except FileExistsError:
        return False
    note_digest(path, sha256)
    sync_folder(path.parent)
    return True


def sync_folder(path: Path) -> None:
    """Bring what a folder lists to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
