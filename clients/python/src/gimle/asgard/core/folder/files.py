"""Files that appear whole or not at all.

A file is written under a name that no scanner looks at, then linked or renamed to its
own. Durable writes reach the disk (the file, then its folder) before they return.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from secrets import token_hex

# Not to wait for whoever may write into a pipe that lies there.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FIRST_READ = 1 << 16
# Where hard links are not to be had (FAT, some network and user file systems).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# What is wrong with one file (a folder or a loop of links in its place, another user's secret).
OF_THE_FILE = {errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM}

# Files without a name (Linux), which get theirs through /proc.
_UNNAMED = getattr(os, "O_TMPFILE", 0) if os.path.isdir("/proc/self/fd") else 0
_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}

# Unique between processes and hosts; a forked child takes another one.
_process = token_hex(8)
_numbers = itertools.count()


# Threads come with the first work there is.
_syncers = ThreadPoolExecutor(8, "asgard-fsync")


def _renewed_after_fork() -> None:
    global _process, _syncers
    _process = token_hex(8)
    _syncers = ThreadPoolExecutor(8, "asgard-fsync")


os.register_at_fork(after_in_child=_renewed_after_fork)


def temporary_name() -> str:
    """A name in no use that begins with a dot."""
    return f".{_process}-{next(_numbers):x}.tmp"


def read(path: str) -> bytes | None:
    """Read a file whole, None when there is none."""
    try:
        fd = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        body = os.read(fd, _FIRST_READ)
        if len(body) < _FIRST_READ:
            return body
        parts = [body]
        while part := os.read(fd, 1 << 24):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def create(folder: str, name: str, body: bytes, *, durable: bool) -> bool:
    """Write a new file; answer False, and write nothing, when the name is taken."""
    temporary = f"{folder}/{temporary_name()}"
    _write(temporary, body, durable)
    try:
        if not place_new(temporary, f"{folder}/{name}"):
            return False
    except BaseException:
        remove(temporary)
        raise
    if durable:
        try:
            sync_folder(folder)
        except BaseException:
            # Ctrl-C comes here most of the time: what nobody was promised is not to stay.
            remove(f"{folder}/{name}")
            raise
    return True


def create_all(
    folder: str, entries: Sequence[tuple[str, bytes]], *, durable: bool
) -> list[os.stat_result | OSError | None]:
    """Write new files (name, body) and bring them to the disk together.

    Answers for each how it now lies there, None when its name is taken; or why it could
    not be written, and then nothing of it is there.
    """
    answers: list[os.stat_result | OSError | None] = [None] * len(entries)
    written: dict[int, tuple[str, int]] = {}
    placed: list[int] = []
    try:
        for number, (_, body) in enumerate(entries):
            try:
                written[number] = _open_unnamed(folder, body)
            except OSError as error:
                answers[number] = error
        if durable:
            _sync_all(written, answers)
        for number, (temporary, fd) in list(written.items()):
            try:
                answers[number] = _give_name(temporary, fd, folder, *entries[number], durable)
            except OSError as error:
                answers[number] = error
                _discard(temporary)
            else:
                placed.append(number)
            os.close(fd)
            del written[number]
        if durable and placed:
            sync_folder(folder)
    except BaseException as error:
        for temporary, fd in written.values():
            os.close(fd)
            _discard(temporary)
        for number in placed:
            if isinstance(answers[number], os.stat_result):
                remove(f"{folder}/{entries[number][0]}")
        if not isinstance(error, OSError):
            raise
        return [error if isinstance(each, os.stat_result) else each for each in answers]
    return answers


def _sync_all(
    written: dict[int, tuple[str, int]], answers: list[os.stat_result | OSError | None]
) -> None:
    """Bring open files to the disk; those that do not get there are removed from `written`."""

    def remove_unsynced(number: int, error: OSError) -> None:
        temporary, fd = written.pop(number)
        answers[number] = error
        os.close(fd)
        _discard(temporary)

    if len(written) == 1:
        ((number, (_, fd)),) = written.items()
        try:
            os.fsync(fd)
        except OSError as error:
            remove_unsynced(number, error)
        return
    # Side by side they share what they wait for, commits of the journal and flushes of the
    # disk: eight took 2.7 ms so, and 15 one after another (ext4).
    syncing = {number: _syncers.submit(os.fsync, fd) for number, (_, fd) in written.items()}
    wait(syncing.values())
    for number, done in syncing.items():
        failed = done.exception()
        if isinstance(failed, OSError):
            remove_unsynced(number, failed)
        elif failed is not None:
            raise failed


def replace(folder: str, name: str, body: bytes, *, durable: bool) -> None:
    """Write a file in the place of the one of that name, if there is one."""
    temporary = f"{folder}/{temporary_name()}"
    _write(temporary, body, durable)
    try:
        os.rename(temporary, f"{folder}/{name}")
    except BaseException:
        remove(temporary)
        raise
    if durable:
        sync_folder(folder)


def place_new(temporary: str, path: str) -> bool:
    """Give a written file its name unless that is taken. `temporary` is gone afterwards."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        os.unlink(temporary)
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            os.unlink(temporary)
            return False
        os.rename(temporary, path)
        return True
    os.unlink(temporary)
    return True


def remove(path: str) -> bool:
    """Remove a file; answer whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def sync_folder(folder: str) -> None:
    """Make the names in a folder reach the disk."""
    fd = os.open(folder, _READ | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot; their renames are as durable as they get.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(fd)


def write_all(fd: int, body: bytes | memoryview) -> None:
    """Write every byte at the present position."""
    written = os.write(fd, body)
    if written < len(body):
        rest = memoryview(body)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]


def _write(path: str, body: bytes, durable: bool) -> None:
    fd = _open_written(path, body)
    try:
        try:
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        remove(path)
        raise


def _open_written(path: str, body: bytes) -> int:
    """Write a new file and leave it open; nothing is there when that fails."""
    fd = os.open(path, _NEW, 0o666)
    try:
        write_all(fd, body)
    except BaseException:
        os.close(fd)
        remove(path)
        raise
    return fd


def _open_unnamed(folder: str, body: bytes) -> tuple[str, int]:
    """Write a new file that has no name yet, or where there is no such thing a temporary one.

    Answers that name, empty if there is none, and the open file. A file without a name costs
    half as much, rings no watcher of the folder, and leaves nothing when its writer dies.
    """
    if _UNNAMED:
        try:
            fd = os.open(folder, _UNNAMED | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
        else:
            try:
                write_all(fd, body)
            except BaseException:
                os.close(fd)
                raise
            return "", fd
    temporary = f"{folder}/{temporary_name()}"
    return temporary, _open_written(temporary, body)


def _give_name(
    temporary: str, fd: int, folder: str, name: str, body: bytes, durable: bool
) -> os.stat_result | None:
    """Give an open file its name; answer how it lies there, None when the name is taken."""
    path = f"{folder}/{name}"
    if temporary:
        return os.fstat(fd) if place_new(temporary, path) else None
    try:
        # linkat(2) follows the link of /proc; what it is given a folder for does not matter.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        return None
    except OSError as error:
        # Some sandboxes have a /proc through which nothing can be linked.
        if error.errno not in _NO_LINKS | {errno.ENOENT, errno.EXDEV}:
            raise
        return os.stat(path) if create(folder, name, body, durable=durable) else None
    return os.fstat(fd)


def _discard(temporary: str) -> None:
    if temporary:
        remove(temporary)
