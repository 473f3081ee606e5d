"""Noticing what others write into the place: by a bell, and by looking (protocols 8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from gimle.asgard.core.errors import StorageFullError, StorageUnavailableError

from asgard_server.run.metrics import INDEX_FULL
from asgard_server.run.observe import Observer
from asgard_server.run.store import Key, Kind
from asgard_server.run.upkeep import IndexUpkeep, WatchedPlace

# Documents observed by one call, so that the requests of others get their turn between.
CHUNK = 256
QUIET_S = 1.0
# So many events within a second, and some were probably lost: look without waiting.
BURST = 10_000
# Somebody who never pauses is looked at all the same.
LONGEST_WAIT_S = 10.0
_LOOKS = 100
# A look at a large place may take this share of the time, not more.
SHARE = 5

log = structlog.get_logger()

_KINDS: tuple[Kind, ...] = ("result", "run")


class Noticer:
    """Observes whatever other writers do to a place.

    `run` goes on until it is cancelled. `problem` says why the place cannot be served at the
    moment: nothing is believed of it, and nothing is changed, until it is back. `full` says that
    there is no room to index what has changed: it can be served and deleted from all the same.
    """

    def __init__(
        self,
        place: WatchedPlace,
        index: IndexUpkeep,
        observer: Observer,
        *,
        look_every: float | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.problem: StorageUnavailableError | None = None
        self.full: StorageFullError | None = None
        self._place = place
        self._index = index
        self._observer = observer
        self._look_every = look_every or place.rhythm.look_s
        self._clock = clock
        self._reconciled = asyncio.Event()
        self._wake = asyncio.Event()
        self._scanned: str | None = None
        self._seen: str | None = None
        self._last_event = -QUIET_S
        self._burst_began = 0.0
        self._burst = 0
        self._forced = False
        self._scan_began = 0.0
        self._next_scan = 0.0
        self._next_news = 0.0
        self._heard: dict[Key, str] = {}
        self._waiting_since: float | None = None

    async def reconciled(self) -> None:
        """Wait until the index has once agreed with all documents."""
        await self._reconciled.wait()

    async def run(self) -> None:
        """Listen and look until cancelled."""
        async with self._place.listen() as touched, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heed(touched))
            tasks.create_task(self._look())

    # The bell

    async def _heed(self, touched: AsyncIterator[frozenset[Key] | None]) -> None:
        async for keys in touched:
            self._count_events(BURST if keys is None else len(keys))
            if not keys:
                continue
            try:
                # What was written through this very service, and read since, did not ring.
                await self._observe(await self._index.stale(_results_first(keys)))
            except (StorageUnavailableError, StorageFullError):
                self._scanned = None  # the next look says so, and scans when it is back

    def _count_events(self, events: int) -> None:
        now = time.monotonic()
        self._last_event = now
        if now - self._burst_began > 1.0:
            self._burst_began, self._burst = now, 0
        self._burst += events
        if self._burst >= BURST:
            self._burst = 0
            self._forced = True
            self._wake.set()

    async def _observe(self, keys: list[Key]) -> None:
        for start in range(0, len(keys), CHUNK):
            await self._observer.observe(*keys[start : start + CHUNK])

    # The look

    async def _look(self) -> None:
        while True:
            try:
                # Kept for many looks, so that it does not pass from one to the other; not for
                # ever, for it may be lost without a word.
                async with self._place.turn() as ours:
                    for _ in range(_LOOKS if ours else 1):
                        await self._look_once(ours)
                        await self._pause()
                continue
            except StorageUnavailableError as error:
                if self.problem is None or str(self.problem) != str(error):
                    log.error("storage unavailable", problem=str(error))
                self.problem = error
            except StorageFullError as error:
                # Whoever is asked for room must not refuse to be deleted from.
                self._has_room(error)
                self._is_there()
            self._scanned = None
            await self._pause()

    async def _pause(self) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_every):
                await self._wake.wait()

    async def _look_once(self, ours: bool) -> None:
        await self._place.check()
        if ours:
            await self._notice()
        elif not await self._index.building():
            self._reconciled.set()
        # What another process has logged rings nobody here.
        await self._observer.look()
        self._has_room(None)
        self._is_there()

    def _is_there(self) -> None:
        if self.problem is not None:
            log.info("storage available again")
            self.problem = None

    def _has_room(self, full: StorageFullError | None) -> None:
        if self.full is None and full is not None:
            log.error("no room to index changes: lists lag until there is", problem=str(full))
        elif self.full is not None and full is None:
            log.info("there is room to index changes again")
        self.full = full
        INDEX_FULL.set(full is not None)

    async def _notice(self) -> None:
        if await self._index.building():
            await self._build()
        pulse = await self._place.pulse()
        if self._is_due(pulse):
            await self._scan()
            # The mtime of a folder has a grain: what has just moved may move again unseen, so
            # a pulse is only done with when it had stood still for a look before the scan.
            self._scanned = pulse if pulse == self._seen else None
            self._waiting_since = None
            self._reconciled.set()
        elif pulse is None and time.monotonic() >= self._next_news:
            await self._hear_news()
        self._seen = pulse

    async def _hear_news(self) -> None:
        began = time.monotonic()
        newest = {kind: await self._index.newest(kind) for kind in _KINDS}
        news = await self._place.news(newest)
        unheard = [entry for entry in news if self._heard.get(entry.key) != entry.stamp]
        await self._observe(_results_first(await self._index.unknown(unheard)))
        self._heard = {entry.key: entry.stamp for entry in news}
        ended = time.monotonic()
        # Where much is written, most of what is listed is our own.
        self._next_news = ended + SHARE * (ended - began)

    def _is_due(self, pulse: str | None) -> bool:
        now = time.monotonic()
        if not self._reconciled.is_set() or self._forced:
            self._forced = False
            return True
        if pulse is None:
            every = self._place.rhythm.scan_s
            return every is not None and now - self._scan_began >= every
        # Without a bell nobody tells of a file that is edited where it lies.
        if pulse == self._scanned and self._place.rings:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        quiet = not self._place.rings or now - self._last_event >= QUIET_S
        waited = now - self._waiting_since >= LONGEST_WAIT_S
        return (quiet or waited) and now >= self._next_scan

    async def _scan(self) -> None:
        began = self._scan_began = time.monotonic()
        try:
            for kind in _KINDS:
                started_at = self._clock()
                listing = await self._place.scan(kind)
                different = await self._index.compare(kind, listing, started_at)
                if different:
                    log.info("found by looking", kind=kind, documents=len(different))
                await self._observe(different)
        finally:  # one for which there was no room has taken its time, too
            ended = time.monotonic()
            self._next_scan = ended + SHARE * (ended - began)

    async def _build(self) -> None:
        began = time.monotonic()
        listings = [(kind, await self._place.scan(kind)) for kind in _KINDS]
        count = await self._index.rebuild(listings)
        seconds = time.monotonic() - began
        log.info("index rebuilt", documents=count, seconds=round(seconds, 3))
        # What came and went while it was being built is found by one comparison.
        self._forced = True


def _results_first(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (key.kind != "result", key.id))
