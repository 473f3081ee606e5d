"""Hearing of documents that other processes write into a folder, as it happens."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping

import structlog
from gimle.asgard.core.ids import is_id
from watchfiles._rust_notify import RustNotify

from asgard_server.run.store import Key, Kind
from asgard_server.store import inotify

# After the first event the watcher waits until a step brings no other: the shorter, the
# sooner a save is seen. A step costs 20 microseconds of the thread.
STEP_MS = 5
DEBOUNCE_MS = 50
LOOK_MS = 1_000
# More than these waiting to be named are not named at all: a scan finds them cheaper.
MOST_NAMED = 10_000

log = structlog.get_logger()


class FolderBell:
    """Collects the documents that the kernel says were touched.

    Folders that are replaced or come back are watched again within a second. Events may be
    lost, where it is watchfiles that hears (not on Linux) without a word. Documents of which
    `is_news` (asked in the bell's thread) says no are not told.
    """

    def __init__(
        self, directories: Mapping[Kind, str], is_news: Callable[[Key], bool] = lambda key: True
    ) -> None:
        self._is_news = is_news
        self._kinds: dict[str, Kind] = {path: kind for kind, path in directories.items()}
        self._loop = asyncio.get_running_loop()
        self._touched: set[Key] = set()
        self._too_many = False
        self._rung = asyncio.Event()
        self._stop = threading.Event()
        self._notify: inotify.Inotify | None = None
        self._thread = threading.Thread(target=self._watch, name="folder-bell", daemon=True)
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen; what is touched from now on is heard of."""
        self._thread.start()
        await self._ready.wait()

    async def stop(self) -> None:
        """Stop listening and wait for the thread to end."""
        self._stop.set()
        if self._notify is not None:
            self._notify.interrupt()
        await asyncio.to_thread(self._thread.join)

    def __aiter__(self) -> FolderBell:
        return self

    async def __anext__(self) -> frozenset[Key] | None:
        await self._rung.wait()
        self._rung.clear()
        touched, self._touched = frozenset(self._touched), set()
        too_many, self._too_many = self._too_many, False
        return None if too_many else touched

    def _hear(self, touched: set[Key]) -> None:
        """Take in what the thread heard; runs on the loop."""
        if not self._too_many:
            self._touched |= touched
            if len(self._touched) > MOST_NAMED:
                self._touched, self._too_many = set(), True
        self._rung.set()

    def _hear_too_many(self) -> None:
        self._touched, self._too_many = set(), True
        self._rung.set()

    def _watch(self) -> None:
        said = ""
        while not self._stop.is_set():
            try:
                self._watch_folders(self._identities())
            except (OSError, RuntimeError) as error:
                # No folder, or no watches left: the scan goes on alone until there are.
                if str(error) != said:
                    said = str(error)
                    log.warning("cannot watch the folder, scanning it instead", problem=said)
                self._tell(self._ready.set)
                self._stop.wait(LOOK_MS / 1_000)

    def _watch_folders(self, identities: list[tuple[int, int]]) -> None:
        if not inotify.HERE:
            self._watch_otherwise(identities)
            return
        with inotify.Inotify(list(self._kinds)) as notify:
            self._notify = notify
            self._tell(self._ready.set)
            while not self._stop.is_set() and self._identities() == identities:
                try:
                    self._heard(notify.paths(LOOK_MS, STEP_MS, DEBOUNCE_MS))
                except inotify.OverflowedError:
                    self._tell(self._hear_too_many)

    def _watch_otherwise(self, identities: list[tuple[int, int]]) -> None:
        notify = RustNotify(list(self._kinds), False, False, 0, False, False)
        with notify:
            self._tell(self._ready.set)
            while not self._stop.is_set() and self._identities() == identities:
                heard = notify.watch(DEBOUNCE_MS, STEP_MS, LOOK_MS, self._stop)
                if isinstance(heard, set):
                    self._heard(path for _, path in heard)

    def _heard(self, paths: Iterable[str]) -> None:
        if touched := self._keys(paths):
            # Told also when there is no news in it: the place is not quiet.
            self._tell(self._hear, self._news(touched))

    def _identities(self) -> list[tuple[int, int]]:
        stats = [os.stat(folder) for folder in self._kinds]
        return [(stat.st_dev, stat.st_ino) for stat in stats]

    def _keys(self, paths: Iterable[str]) -> set[Key]:
        touched: set[Key] = set()
        for text in paths:
            parent, _, name = text.rpartition("/")
            kind = self._kinds.get(parent)
            if kind and name.endswith(".json") and is_id(name[:-5]):
                touched.add(Key(kind, name[:-5]))
        return touched

    def _news(self, touched: set[Key]) -> set[Key]:
        if len(touched) > MOST_NAMED:
            return touched
        return {key for key in touched if self._is_news(key)}

    def _tell(self, what: object, *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)  # type: ignore[arg-type]  # callables of both shapes
        except RuntimeError:  # the loop has ended; so does this thread
            self._stop.set()
