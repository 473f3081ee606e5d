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
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
from gimle.asgard.core.errors import StorageFullError, StorageUnavailableError
from gimle.asgard.core.folder.files import sync_folder, write_all
from gimle.asgard.v1 import run_service_pb2 as pb

_REQUESTS: dict[str, Any] = {
    "CreateRun": pb.CreateRunRequest,
    "SaveRun": pb.SaveRunRequest,
    "UpdateRun": pb.UpdateRunRequest,
    "FinishRun": pb.FinishRunRequest,
    "DeleteRun": pb.DeleteRunRequest,
    "AddResult": pb.AddResultRequest,
    "AppendResult": pb.AppendResultRequest,
    "DeleteResult": pb.DeleteResultRequest,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that waits. `time` is that of its saving, in ns since 1970."""

    segment: str
    number: int
    time: int
    run_id: str
    id: str
    method: str
    body: bytes
    arrays: tuple[dict[str, str], ...]


class Spool:
    """The spool in folder `path`, made when missing. Thread-safe; for any number of processes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._pid = 0
        self._number = 0
        self._segment: Path | None = None
        with self._named():
            (self.path / "arrays").mkdir(parents=True, exist_ok=True)
            (self.path / "refused").mkdir(exist_ok=True)

    def empty(self) -> bool:
        """Whether nothing waits, of whatever process."""
        return not self._segments()

    def _segments(self) -> list[str]:
        with self._named():
            return sorted(name[:-6] for name in os.listdir(self.path) if name.endswith(".spool"))

    def put(self, method: str, request: Any, run_id: str, id: str) -> None:
        """Keep a call. When this returns, it is on the disk."""
        with self._named(), self._lock, self._own() as (fd, segment, number):
            arrays = self._put_arrays(request, f"{segment}-{number}")
            line = orjson.dumps(
                {
                    "time": time.time_ns(),
                    "run_id": run_id,
                    "id": id,
                    "method": method,
                    "request": b64encode(_without_arrays(request).SerializeToString()).decode(),
                    "arrays": arrays,
                }
            )
            end = os.lseek(fd, 0, os.SEEK_END)
            try:
                write_all(fd, b"%08x %s\n" % (crc32(line), line))
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, end)
                raise

    def _put_arrays(self, request: Any, name: str) -> list[dict[str, str]]:
        named: list[dict[str, str]] = []
        for number, arrays in enumerate(_arrays(request)):
            files = {}
            for place, (key, content) in enumerate(arrays.items()):
                files[key] = f"{name}-{number}-{place}.npy"
                with open(self.path / "arrays" / files[key], "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            named.append(files)
        if any(named):
            sync_folder(str(self.path / "arrays"))
        return named

    @contextmanager
    def _own(self) -> Iterator[tuple[int, str, int]]:
        """This process's segment, locked: its file, its name, and the next entry's number."""
        while True:
            if self._segment is None or self._pid != os.getpid():
                self._begin_segment()
            assert self._segment is not None  # noqa: S101  # it has just been begun
            try:
                fd = _lock(self._segment)
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
                for number, line in enumerate(_lines(self.path / f"{segment}.spool")):
                    if number not in over:
                        found.append(_entry(segment, number, line))
        return sorted(found, key=lambda entry: (entry.time, entry.segment, entry.number))

    def request(self, entry: Entry) -> Any:
        """The call's request, with its arrays. Raises FileNotFoundError when one is lost."""
        request = _REQUESTS[entry.method].FromString(entry.body)
        for arrays, files in zip(_arrays(request), entry.arrays, strict=True):
            for key, name in files.items():
                arrays[key] = (self.path / "arrays" / name).read_bytes()
        return request

    def done(self, entry: Entry) -> None:
        """An entry is over: forget it, and its segment when all of that is over."""
        with self._named():
            with open(self.path / f"{entry.segment}.done", "a", encoding="ascii") as file:
                file.write(f"{entry.number}\n")
            for files in entry.arrays:
                for name in files.values():
                    (self.path / "arrays" / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove the segments of which all is over. Only for the one who replays."""
        for segment in self._segments():
            path = self.path / f"{segment}.spool"
            with self._named():
                fd = _lock(path)
                try:
                    if len(self._over(segment)) >= sum(1 for _ in _lines(path)):
                        path.unlink()
                        (self.path / f"{segment}.done").unlink(missing_ok=True)
                finally:
                    os.close(fd)

    def refuse(self, entry: Entry, reason: str) -> None:
        """Put an entry aside for good, with its arrays and the reason."""
        aside = self.path / "refused"
        with self._named():
            for files in entry.arrays:
                for name in files.values():
                    with suppress(FileNotFoundError):
                        os.replace(self.path / "arrays" / name, aside / name)
            body = {
                "reason": reason,
                "time": entry.time,
                "run_id": entry.run_id,
                "id": entry.id,
                "method": entry.method,
                "request": b64encode(entry.body).decode(),
                "arrays": list(entry.arrays),
            }
            target = aside / f"{entry.segment}-{entry.number}.json"
            hidden = target.with_name(f".{target.name}")
            hidden.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
            os.replace(hidden, target)
            sync_folder(str(aside))
        self.done(entry)

    def refused(self) -> list[tuple[Entry, str]]:
        """What was put aside, and why, in the order it was saved."""
        found = []
        for path in (self.path / "refused").glob("[!.]*.json"):
            body = orjson.loads(path.read_bytes())
            segment, _, number = path.stem.rpartition("-")
            found.append((_made(segment, int(number), body), str(body["reason"])))
        return sorted(found, key=lambda pair: (pair[0].time, pair[0].segment, pair[0].number))

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


def _lock(path: Path) -> int:
    """Open a segment and be the only one at it, until it is closed."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a segment. What its process died over is no entry."""
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n") or f"{crc32(line[9:-1]):08x}".encode() != line[:8]:
                return
            yield line[9:-1]


def _entry(segment: str, number: int, line: bytes) -> Entry:
    return _made(segment, number, orjson.loads(line))


def _made(segment: str, number: int, body: dict[str, Any]) -> Entry:
    return Entry(
        segment,
        number,
        body["time"],
        body["run_id"],
        body["id"],
        body["method"],
        b64decode(body["request"]),
        tuple(body["arrays"]),
    )


def _arrays(request: Any) -> list[Any]:
    """The maps of arrays in a request, in an order that stays."""
    if isinstance(request, pb.AddResultRequest):
        return [request.result.arrays]
    if isinstance(request, pb.AppendResultRequest):
        return [request.arrays]
    if isinstance(request, pb.SaveRunRequest):
        return [result.arrays for result in request.results]
    return []


def _without_arrays(request: Any) -> Any:
    bare = type(request)()
    bare.CopyFrom(request)
    for arrays in _arrays(bare):
        arrays.clear()
    return bare
