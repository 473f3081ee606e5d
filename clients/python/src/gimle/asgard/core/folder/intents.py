"""What is being written or deleted right now, so that a dead writer's work can be undone.

Nothing is removed because something else is missing: a sweeper removes only files that a
dead writer's intent names, and finishes only deletes that left their marker.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from gimle.asgard.core.documents import decode_result
from gimle.asgard.core.errors import AlreadyExistsError, DocumentError
from gimle.asgard.core.folder import files
from gimle.asgard.core.folder.arrayfiles import array_names
from gimle.asgard.core.folder.layout import Layout, growing_name, owned
from gimle.asgard.core.folder.locks import Locks
from gimle.asgard.core.folder.reserve import FULL, Reserve
from gimle.asgard.core.ids import is_id


class Intents:
    """The intents of a folder: one for each result whose array files are being written."""

    def __init__(self, layout: Layout, locks: Locks) -> None:
        self._layout = layout
        self._locks = locks

    def begin(self, result_id: str, names: Sequence[str], *, wait: bool = False) -> int:
        """Say which array files are about to be written or given up; answer what `end` wants.

        The intent is locked before anybody can see it, and stays so while this process
        lives. Raises AlreadyExistsError when a living writer has one for this result, unless
        that is to be waited for.
        """
        path = f"{self._layout.intents}/{result_id}"
        temporary = f"{self._layout.intents}/{files.temporary_name()}"
        try:
            fd = self._create(temporary)
        except FileNotFoundError:
            os.stat(self._layout.runs)  # `.asgard/` may be removed; the folder itself may not
            os.makedirs(self._layout.intents, exist_ok=True)
            fd = self._create(temporary)
        self._locks.hold(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A copy of the folder brings the intents of living writers without their locks;
            # the number tells them.
            body = {"result": result_id, "files": list(names), "inode": os.fstat(fd).st_ino}
            files.write_all(fd, orjson.dumps(body))
            # The lock goes with the file to its name.
            if not (self.sweep(result_id, wait=wait) and files.place_new(temporary, path)):
                raise AlreadyExistsError("result", result_id)
        except BaseException:
            files.remove(temporary)
            self._locks.release(fd)
            raise
        return fd

    @staticmethod
    def _create(path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def end(self, result_id: str, fd: int) -> None:
        """Take the intent back: the document is written, or the files are removed."""
        try:
            files.remove(f"{self._layout.intents}/{result_id}")
        finally:
            self._locks.release(fd)

    def names(self) -> list[str]:
        """Results that have an intent."""
        return [name for name in listed(self._layout.intents) if is_id(name)]

    def files_named(self, result_id: str) -> list[str]:
        """The files an intent names, none when it is gone or broken."""
        return _names(files.read(f"{self._layout.intents}/{result_id}"), result_id)

    def settle(self, result_id: str, names: Iterable[str]) -> None:
        """Remove those of the files that the result's document, as it now is, does not name."""
        body = files.read(self._layout.document("result", result_id))
        try:
            used = [] if body is None else array_names(decode_result(body, result_id))
        except DocumentError:
            return
        for name in names:
            if name not in used:
                files.remove(self._layout.array(growing_name(name)))
                files.remove(self._layout.array(name))

    def sweep(self, result_id: str, *, wait: bool = False) -> bool:
        """Undo what a dead writer began; answer False when the writer lives, or wait for it."""
        path = f"{self._layout.intents}/{result_id}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        self._locks.hold(fd)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            try:
                if os.stat(path).st_ino != os.fstat(fd).st_ino:
                    return True
            except FileNotFoundError:
                return True
            self.settle(result_id, _names(os.pread(fd, 1 << 24, 0), result_id, os.fstat(fd).st_ino))
            files.remove(path)
            return True
        finally:
            self._locks.release(fd)


class Markers:
    """The markers of deletes that are under way: everything to be removed, by name."""

    def __init__(self, layout: Layout, reserve: Reserve, *, durable: bool) -> None:
        self._layout = layout
        self._reserve = reserve
        self._durable = durable

    def exists(self, id: str) -> bool:
        """Tell whether a delete of this run or result has begun and not ended."""
        return os.path.lexists(f"{self._layout.deleting}/{id}")

    def write(
        self, kind: str, id: str, run_id: str, results: Iterable[str], names: Iterable[str]
    ) -> None:
        """Begin a delete. From here on it will be finished, by whomever."""
        body = orjson.dumps(
            {"kind": kind, "run": run_id, "results": list(results), "files": list(names)}
        )
        try:
            files.replace(self._layout.deleting, id, body, durable=self._durable)
        except FileNotFoundError:
            os.stat(self._layout.runs)
            os.makedirs(self._layout.deleting, exist_ok=True)
            files.replace(self._layout.deleting, id, body, durable=self._durable)
        except OSError as error:
            path = f"{self._layout.deleting}/{id}"
            full = error.errno in FULL
            if not full or not self._reserve.become(path, body, durable=self._durable):
                raise

    def read(self, id: str) -> tuple[str, str, list[str], list[str]] | None:
        """(kind, run, results, array files) of a delete, None when there is none or it is broken.

        The names are checked: a marker removes nothing outside its own results.
        """
        body = files.read(f"{self._layout.deleting}/{id}")
        if body is None:
            return None
        try:
            marker = orjson.loads(body)
            kind, run_id = marker["kind"], marker["run"]
            results = [name for name in marker["results"] if is_id(name)]
            names = [
                name
                for name in marker["files"]
                if "/" not in name and any(owned(result, name) for result in results)
            ]
        except (ValueError, TypeError, KeyError):
            return None
        if kind not in ("run", "result") or not isinstance(run_id, str) or not is_id(run_id):
            return None
        return kind, run_id, results, names

    def remove(self, id: str) -> None:
        """End a delete."""
        files.remove(f"{self._layout.deleting}/{id}")

    def names(self) -> list[str]:
        """Runs and results whose delete has begun and not ended."""
        return [name for name in listed(self._layout.deleting) if is_id(name)]


def listed(folder: str) -> list[str]:
    """All names in a folder, none when it is missing."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _names(body: bytes | None, result_id: str, inode: int | None = None) -> list[str]:
    """Array files an intent names that are this result's own; none if it is a copy of one."""
    try:
        intent: dict[str, Any] = orjson.loads(body or b"")
        if inode is not None and intent.get("inode") != inode:
            return []
        return [
            name
            for name in intent["files"]
            if isinstance(name, str) and "/" not in name and owned(result_id, name)
        ]
    except (ValueError, TypeError, KeyError):
        return []
