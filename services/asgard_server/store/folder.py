"""Documents in a folder: the ports `Documents` and `WatchedPlace` around `core.folder.Folder`."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import StorageUnavailableError, UploadEndedError
from gimle.asgard.core.folder import Folder
from gimle.asgard.core.folder.arrayfiles import loader
from gimle.asgard.core.folder.files import OF_THE_FILE
from gimle.asgard.core.folder.layout import Layout, array_name
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.reading import put_back

from asgard_server.run.store import Entry, Found, Key, Kind, Rows
from asgard_server.run.upkeep import Rhythm
from asgard_server.store.folder_bell import FolderBell
from asgard_server.store.fresh_reads import FreshReads
from asgard_server.store.lane import Lane

_New = tuple[RunDocument, Sequence[ResultDocument]]

P = ParamSpec("P")
T = TypeVar("T")

# The kernel's times move in ticks of up to 10 ms: a document replaced twice within one may have
# the size, the inode and the time it had before.
_UNSETTLED_NS = 20_000_000
_WRITING = 4_096

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PLACES: dict[Kind, str] = {"run": "runs", "result": "results"}


class FolderDocuments:
    """A folder's runs, results and arrays, read and written in a pool of threads.

    `network`: the folder lies on a network file system, where the kernel does not tell
    of other machines' writes.
    """

    def __init__(self, folder: Folder, pool: ThreadPoolExecutor, *, network: bool = False) -> None:
        self._folder = folder
        self._pool = pool
        self._network = network
        self._creating: Lane[_New, object] = Lane(pool, folder.create_runs)
        self._directories = {kind: f"{folder.path}/{name}" for kind, name in PLACES.items()}
        self._fresh = FreshReads(self.stamp_now)
        self._written: set[Key] = set()

    async def _in_pool(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

    # Documents

    async def create_run(self, run: RunDocument, results: Sequence[ResultDocument]) -> None:
        """Write `results`, then `run`. Raises `AlreadyExistsError` when an id is taken."""
        self._writing(Key("run", run.id), *(Key("result", result.id) for result in results))
        if results:
            # Its arrays may be large: nobody else is to wait for them.
            await self._in_pool(self._folder.create_run, run, results)
        else:
            await self._creating.ask((run, ()))

    async def update_run(
        self, run_id: str, change: Callable[[RunDocument], RunDocument]
    ) -> RunDocument:
        """Replace a run by `change` of itself, alone. Raises `NotFoundError`, and what it does."""
        self._writing(Key("run", run_id))
        return await self._in_pool(self._folder.update_run, run_id, change)

    async def add_result(self, result: ResultDocument) -> Sequence[Key]:
        """Write a result and list it. Raises `NotFoundError` (the run), `AlreadyExistsError`."""
        keys = (Key("result", result.id), Key("run", result.run_id))
        self._writing(*keys)
        await self._in_pool(self._folder.add_result, result)
        return keys

    async def append(self, result_id: str, data: dict[str, Any], at: int | None) -> ResultDocument:
        """Grow a result. Raises `NotFoundError`, `LengthMismatchError`, `CannotAppendError`."""
        self._writing(Key("result", result_id))
        return await self._in_pool(self._append, result_id, data, at)

    def _append(self, result_id: str, data: dict[str, Any], at: int | None) -> ResultDocument:
        """Append rows; those in a file are mapped, and copied from there to where they belong."""
        load = loader(Layout(self._folder.path), result_id)
        try:
            rows = {key: put_back(value, load) for key, value in data.items()}
        except FileNotFoundError as error:  # a repeat of this call was faster
            raise UploadEndedError(result_id, "taken") from error
        return self._folder.append(result_id, rows, at)

    async def rows_places(
        self, found: Found, result_id: str, upload_id: str, rows: Rows
    ) -> list[str]:
        """Beside the arrays, by names of the upload's own: `append` copies from there."""
        names: list[str] = []
        for field, _ in rows:
            names.append(array_name(upload_id, field, names))
        return [f"files/{name}" for name in names]

    def _writing(self, *keys: Key) -> None:
        if len(self._written) > _WRITING:  # of writes that failed, and were not read
            self._written.clear()
        self._written.update(keys)

    async def delete(self, key: Key, also: Collection[str] = ()) -> None:
        """Delete a run with its results, or a result, with arrays. Raises `NotFoundError`.

        `also` names results known to be the run's, beyond its list.
        """
        if key.kind == "run":
            await self._in_pool(self._folder.delete_run, key.id, also)
        else:
            await self._in_pool(self._folder.delete_result, key.id)

    async def read(self, key: Key) -> Found | None:
        """Read a document's bytes, None when there is none."""
        return await self._in_pool(self._read_surely, key)

    async def open_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays, large ones memory-mapped. Raises `NotFoundError`."""
        return await self._in_pool(self._folder.read_result, result_id)

    async def look_at(self, result_id: str) -> ResultDocument:
        """Read a result to draw it: what is looked at of large arrays is read by their maps."""
        return await self.open_result(result_id)

    async def scan(self, kind: Kind) -> Iterable[Entry]:
        """List all documents of a kind, lazily: consume it in a thread."""
        return self._scan(kind)

    def _scan(self, kind: Kind) -> Iterator[Entry]:
        self._folder.check()
        for document_id, stamp in self._folder.entries(kind):
            yield Entry(Key(kind, document_id), stamp)
        # A place that went away meanwhile may have looked empty instead of failing.
        self._folder.check()

    # For the index, in its threads

    def read_now(self, key: Key) -> Found | None:
        """Read a document, to write its row of what it says: its bell need not ring for that.

        None when it is gone and the place is not. Raises `StorageUnavailableError`, also
        when the place is another one than was opened.
        """
        found = self._read_surely(key)
        self._fresh.note(key, None if found is None else found.stamp)
        return found

    def read_ours(self, key: Key, ours: Found) -> Found | None:
        """`read_now` of what this process has just written: a stat, unless it was replaced."""
        if self.stamp_now(key) != ours.stamp:
            return self.read_now(key)
        self._fresh.note(key, ours.stamp)
        return ours

    def _read_surely(self, key: Key) -> Found | None:
        found = self._read(key)
        if found is None:
            # A deletion is believed while the place is surely there, and looked at again.
            self._folder.check()
            found = self._read(key)
        return found

    def stamp_now(self, key: Key) -> str | None:
        """The stamp of a document, None when there is none."""
        try:
            return stamp_of(os.stat(self._path(key)))
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in OF_THE_FILE:
                return None
            raise self._unavailable(error) from error

    def _path(self, key: Key) -> str:
        return f"{self._directories[key.kind]}/{check_id(key.id, f'{key.kind}_id')}.json"

    def _read(self, key: Key) -> Found | None:
        path = self._path(key)
        try:
            # Not to wait for whoever may write into a pipe that lies there.
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                stat = os.fstat(handle)
                body = os.read(handle, stat.st_size + 1)
                while len(body) < stat.st_size and (more := os.read(handle, stat.st_size)):
                    body += more
            finally:
                os.close(handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            return self._unreadable(path, error)
        stamp = stamp_of(stat)
        if key in self._written:
            self._written.discard(key)
        elif time.time_ns() - stat.st_mtime_ns < _UNSETTLED_NS:
            # Somebody else's, and perhaps not his last word in this tick: a stamp that is
            # nobody's, so that his bell, or the next scan, has it read again.
            stamp += "-unsettled"
        return Found(body, stamp, modified_at(stat))

    def _unreadable(self, path: str, error: OSError) -> Found:
        """A file that alone cannot be read stands for a document without a word in it.

        Its stamp is nobody's: every scan tries again, for the file need not change to mend it.
        """
        if error.errno in OF_THE_FILE:
            try:
                stat = os.lstat(path)
            except OSError as same:
                error = same
            else:
                return Found(b"", f"{stamp_of(stat)}-{error.strerror}", modified_at(stat))
        raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StorageUnavailableError:
        return StorageUnavailableError(
            self._folder.path, f"{error.strerror or error}; check its disk and permissions"
        )

    # WatchedPlace

    @property
    def rhythm(self) -> Rhythm:
        """Every second it is asked whether it has moved: that costs two stats."""
        return Rhythm(look_s=1.0, scan_s=None)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Each process looks for itself: its bell is its own."""
        yield True

    async def news(self, newest: Mapping[Kind, str | None]) -> list[Entry]:
        """Nothing: the pulse tells."""
        return []

    @property
    def rings(self) -> bool:
        """Whether `listen` rings at all; else the place is only scanned."""
        return not self._network

    async def check(self) -> None:
        """Raise `StorageUnavailableError` when the place is gone, or is another one."""
        await self._in_pool(self._check)

    def _check(self) -> None:
        self._folder.check()
        self._folder.keep_room()

    async def pulse(self) -> str:
        """Identity and mtime of the folders of documents: moved by every create, rename, unlink."""
        return await self._in_pool(self._pulse)

    def _pulse(self) -> str:
        try:
            stats = [os.stat(directory) for directory in self._directories.values()]
        except OSError as error:
            raise self._unavailable(error) from error
        return " ".join(f"{stat.st_dev}:{stat.st_ino}:{stat.st_mtime_ns}" for stat in stats)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[frozenset[Key] | None]]:
        """Yield documents touched after entering; None stands for too many to name."""
        if self._network:
            yield _silence()
            return
        bell = FolderBell(self._directories, self._fresh.is_news)
        await bell.start()
        try:
            yield bell
        finally:
            await bell.stop()


def modified_at(stat: os.stat_result) -> datetime:
    """When a file was written, to the microsecond.

    As the library says it: both read the same document from it.
    """
    return _EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1_000)


def stamp_of(stat: os.stat_result) -> str:
    """What tells one state of a file from another, as `Folder.entries` writes it."""
    return f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}"


async def _silence() -> AsyncIterator[frozenset[Key] | None]:
    await asyncio.Event().wait()
    yield None
