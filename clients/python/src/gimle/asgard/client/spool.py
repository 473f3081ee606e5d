"""What could not be sent yet: kept in a folder, in the order it was said.

    DIR/{time}-{pid}-{random}.spool   one line an entry, appended by one process alone
    DIR/{time}-{pid}-{random}.done    the numbers of the entries that are over
    DIR/arrays/                       their arrays, named by segment and number
    DIR/refused/                      what the service refused for good, with its reason
    DIR/.replay                       held by the one process that replays

An entry is in the spool when its line is whole; its arrays were on the disk before. A
segment is removed when all of it is over, under the lock that its writer takes to append.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from gimle.asgard.client.entries import Entry, entries_in, entry_of, lock, write_array
from gimle.asgard.client.outgoing import Outgoing
from gimle.asgard.core.errors import StorageFullError, StorageUnavailableError
from gimle.asgard.core.folder.files import sync_folder, write_all


class Spool:
    """The spool in folder `path`, made when missing. Thread-safe; for any number of processes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._arrays = self.path / "arrays"
        self._aside = self.path / "refused"
        self._lock = threading.Lock()
        self._pid = 0
        self._number = 0
        self._segment: Path | None = None
        with self._named():
            self._arrays.mkdir(parents=True, exist_ok=True)
            self._aside.mkdir(exist_ok=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """Share the same folder in the process that this is sent to."""
        return Spool, (self.path,)

    def empty(self) -> bool:
        """Whether nothing waits, of whatever process."""
        return not self._segments()

    def _segments(self) -> list[str]:
        with self._named():
            return sorted(name[:-6] for name in os.listdir(self.path) if name.endswith(".spool"))

    def put(self, call: Outgoing, run_id: str) -> None:
        """Keep a call that concerns a run. When this returns, it is on the disk."""
        with self._named(), self._lock, self._own() as (fd, segment, number):
            files = self._put_arrays(call, f"{segment}-{number}")
            body = call.request.SerializeToString()
            entry = Entry(
                segment, number, time.time_ns(), run_id, call.id, call.method, body, files
            )
            end = os.lseek(fd, 0, os.SEEK_END)
            try:
                write_all(fd, entry.line())
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, end)
                self._forget_arrays(entry)
                raise

    def _put_arrays(self, call: Outgoing, name: str) -> tuple[dict[str, str], ...]:
        named = tuple(
            {key: f"{name}-{place}-{index}.npy" for index, key in enumerate(arrays)}
            for place, arrays in enumerate(call.arrays)
        )
        try:
            for arrays, files in zip(call.arrays, named, strict=True):
                for key, array in arrays.items():
                    write_array(self._arrays / files[key], array)
        except BaseException:
            for files in named:
                for file in files.values():
                    (self._arrays / file).unlink(missing_ok=True)
            raise
        if any(named):
            sync_folder(str(self._arrays))
        return named

    def _forget_arrays(self, entry: Entry) -> None:
        for name in entry.files:
            (self._arrays / name).unlink(missing_ok=True)

    @contextmanager
    def _own(self) -> Iterator[tuple[int, str, int]]:
        """This process's segment, locked: its file, its name, and the next entry's number."""
        while True:
            if self._segment is None or self._pid != os.getpid():
                self._begin_segment()
            assert self._segment is not None  # noqa: S101  # it has just been begun
            try:
                fd = lock(self._segment)
            except FileNotFoundError:
                self._segment = None
                continue
            try:
                # Where all of it was over, the one who replays has removed it.
                if os.fstat(fd).st_nlink:
                    yield fd, self._segment.stem, self._number
                    self._number += 1
                    return
            finally:
                os.close(fd)
            self._segment = None

    def _begin_segment(self) -> None:
        self._pid, self._number = os.getpid(), 0
        name = f"{time.time_ns():020d}-{self._pid}-{secrets.token_hex(4)}"
        self._segment = self.path / f"{name}.spool"
        os.close(os.open(self._segment, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        sync_folder(str(self.path))

    def entries(self) -> list[Entry]:
        """What waits, in the order it was saved."""
        found: list[Entry] = []
        for segment in self._segments():
            over = self._over(segment)
            with suppress(FileNotFoundError):
                entries = entries_in(self.path / f"{segment}.spool")
                found += [entry for entry in entries if entry.number not in over]
        return sorted(found, key=_order)

    def call(self, entry: Entry) -> Outgoing:
        """The call that waits. Raises FileNotFoundError or ValueError when an array is lost."""
        return entry.call(self._arrays)

    def done(self, entry: Entry) -> None:
        """An entry is over: forget it, and its segment when all of that is over."""
        with self._named():
            with open(self.path / f"{entry.segment}.done", "a", encoding="ascii") as file:
                file.write(f"{entry.number}\n")
            self._forget_arrays(entry)

    def tidy(self) -> None:
        """Remove the segments of which all is over. Only for the one who replays."""
        for segment in self._segments():
            path = self.path / f"{segment}.spool"
            with self._named():
                fd = lock(path)
                try:
                    if len(self._over(segment)) >= sum(1 for _ in entries_in(path)):
                        path.unlink()
                        (self.path / f"{segment}.done").unlink(missing_ok=True)
                finally:
                    os.close(fd)

    def refuse(self, entry: Entry, reason: str) -> None:
        """Put an entry aside for good, with its arrays and the reason."""
        with self._named():
            for name in entry.files:
                with suppress(FileNotFoundError):
                    os.replace(self._arrays / name, self._aside / name)
            body = {"reason": reason, **entry.fields()}
            target = self._aside / f"{entry.segment}-{entry.number}.json"
            hidden = target.with_name(f".{target.name}")
            hidden.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
            os.replace(hidden, target)
            sync_folder(str(self._aside))
        self.done(entry)

    def refused(self) -> list[tuple[Entry, str]]:
        """What was put aside, and why, in the order it was saved."""
        found = []
        for path in self._aside.glob("[!.]*.json"):
            body = orjson.loads(path.read_bytes())
            segment, _, number = path.stem.rpartition("-")
            found.append((entry_of(segment, int(number), body), str(body["reason"])))
        return sorted(found, key=lambda pair: _order(pair[0]))

    @contextmanager
    def replaying(self) -> Iterator[bool]:
        """Be the one who replays; False when somebody else is."""
        with self._named():
            fd = os.open(self.path / ".replay", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(fd)

    def _over(self, segment: str) -> set[int]:
        try:
            lines = (self.path / f"{segment}.done").read_text("ascii").split("\n")
        except FileNotFoundError:
            return set()
        # What follows the last line break is half a number.
        return {int(line) for line in lines[:-1] if line}

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let trouble with the disk name the spool."""
        try:
            yield
        except (StorageUnavailableError, StorageFullError):
            raise
        except OSError as error:
            place = f"{self.path} (the spool)"
            if error.errno in (28, 122):  # ENOSPC, EDQUOT
                raise StorageFullError(place) from error
            mend = f"{error.strerror or error}; check its disk and permissions"
            raise StorageUnavailableError(place, mend) from error


def _order(entry: Entry) -> tuple[int, str, int]:
    return entry.time, entry.segment, entry.number
