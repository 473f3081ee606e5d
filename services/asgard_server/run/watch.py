"""WatchRuns: one reader of the change log per process, and everybody who watches.

The reader puts each change, encoded once, into a ring that all watchers share. A
watcher is a position in it: what he has not read yet is his queue, and its bound
is the ring's. One who is not there yet (he resumes, or ends a snapshot) reads the
log himself until he has caught up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime

import structlog
from gimle.asgard.core.errors import StoppingError, WatcherTooSlowError

from asgard_server.feed.feed import Feed
from asgard_server.rpc import metrics
from asgard_server.run import events
from asgard_server.run.events import Event
from asgard_server.run.store import Position, ResultRow, RevisionGoneError, RunIndex, RunRow
from asgard_server.run.tokens import TokenMaker, unusable

TOPIC = "runs"

# Entries of the log read, encoded and handed on in one go: 4 ms of the loop.
_PAGE = 250

# Messages that are kept for those who stand where others stood a moment ago.
_MADE = 32

# The reader goes on when the fastest watcher is this near, or after this long.
_NEAR = 1_000
_PATIENCE_SECONDS = 0.25

# A bell may be lost: look at the log this often.
_POLL_SECONDS = 1.0

# A change that comes within this of the one before waits so long, and goes with those that
# came meanwhile: what a look at the log and a message cost does not grow with the changes.
_GAP_SECONDS = 0.01


class _Watcher:
    """One call: where it is, and how its tokens look."""

    __slots__ = ("caught_up", "epoch", "revision", "run_id", "tokens")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.caught_up = False

    def at(self, epoch: str, revision: int) -> None:
        self.epoch = epoch
        self.revision = revision
        self.tokens = TokenMaker(epoch, self.run_id)

    def message(self, batch: list[Event]) -> bytes | None:
        """One message of those that this watcher wants to hear of; None for none."""
        wanted = [each for each in batch if self.run_id in ("", each.run_id)]
        return events.message(wanted, self.tokens.token) if wanted else None


class RunWatch:
    """The reader of the log, and the watchers it serves.

    `capacity` changes and `capacity_bytes` are what a watcher may be behind before
    the call ends with `WatcherTooSlowError`.
    """

    def __init__(
        self,
        index: RunIndex,
        feed: Feed,
        clock: Callable[[], datetime],
        *,
        capacity: int = 10_000,
        capacity_bytes: int = 67_108_864,
        checkpoint_seconds: float = 15.0,
    ) -> None:
        self._index = index
        self._feed = feed
        self._clock = clock
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        # What is added in one go must not push out what a watcher who keeps up has yet to read.
        self._page = max(1, min(_PAGE, capacity // 4))
        self._near = min(_NEAR, capacity // 2)
        self._waited_for = -1
        self._checkpoint_seconds = checkpoint_seconds
        # At 0 from the start: Prometheus sees no increase in what appears with its first event.
        self._dropped = metrics.DROPPED_WATCHERS.labels(TOPIC)
        self._watchers: set[_Watcher] = set()
        self._ring: dict[int, Event] = {}
        self._ring_bytes = 0
        self._made: dict[tuple[str, int, int], list[tuple[int, bytes | None]]] = {}
        self._epoch = ""
        self._revision = 0
        self._heard = 0
        self._rung = asyncio.Event()
        self._moved = asyncio.Event()
        self._stopping = False
        self._log = structlog.get_logger("asgard.watch")

    async def run(self) -> None:
        """Read the log until cancelled. A failing index is asked again a second later."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    await self._read_on()
                except Exception as error:  # noqa: BLE001 - whatever it is, watchers outlive it
                    self._log.warning("the change log cannot be read", error=str(error))
                    await asyncio.sleep(_POLL_SECONDS)
                read = time.monotonic()
                await _wait(self._rung, _POLL_SECONDS)
                await asyncio.sleep(read + _GAP_SECONDS - time.monotonic())
                self._rung.clear()
        finally:
            listening.cancel()

    def stop(self) -> None:
        """End every watch with `StoppingError`, and refuse new ones so."""
        self._stopping = True
        self._wake()

    async def watch(
        self, *, snapshot: bool, token: str, run_id: str
    ) -> AsyncGenerator[bytes, None]:
        """Yield serialised `WatchRunsResponse`s until the caller leaves.

        Raises `ResumeTokenUnusableError`, `WatcherTooSlowError`, `StoppingError`.
        """
        watcher = _Watcher(run_id)
        self._watchers.add(watcher)
        gauge = metrics.WATCHERS.labels(TOPIC)
        gauge.inc()
        try:
            watcher.at(*await self._index.head())
            if token:
                watcher.revision = watcher.tokens.revision(token, watcher.revision)
            elif snapshot:
                async for message in self._snapshot(watcher):
                    yield message
            # One who starts at now gets a token at once, one who resumes hears that he is there;
            # a snapshot has said so.
            async for message in self._follow(watcher, told=snapshot and not token):
                yield message
        finally:
            self._watchers.discard(watcher)
            gauge.dec()

    # The reader ---------------------------------------------------------------------

    async def _listen(self) -> None:
        async with self._feed.listen(TOPIC) as bells:
            async for revision in bells:
                self._heard = max(self._heard, revision)
                self._rung.set()

    async def _read_on(self) -> None:
        if not self._watchers:
            # The first who comes has the log looked at: nobody pays for bells that nobody hears.
            if self._epoch:
                self._begin("", 0)
            return
        while True:
            news = None
            if self._epoch:
                with suppress(RevisionGoneError):
                    news = await self._index.news(self._epoch, self._revision, self._page)
            if news is None or news.epoch != self._epoch:
                self._begin(*await self._index.head())
                return
            # What was rung may be of another process, and unknown to an answer from memory.
            head = max(news.head, self._heard)
            metrics.WATCH_LAG.labels(TOPIC).set(max(0, head - self._revision - len(news.changes)))
            if not news.changes:
                return
            self._add(events.encode(news.changes, news.rows, self._clock()))
            await self._pace()
            if self._revision >= head:
                return

    def _begin(self, epoch: str, head: int) -> None:
        """Forget the ring: nobody watches, or the log is another one."""
        self._epoch, self._revision = epoch, head
        self._heard = head  # revisions begin again when the log does
        self._ring.clear()
        self._made.clear()
        self._ring_bytes = 0
        for watcher in self._watchers:
            watcher.caught_up = False
        self._wake()

    def _add(self, encoded: list[Event]) -> None:
        for event in encoded:
            self._ring[event.revision] = event
            self._ring_bytes += len(event.body)
        self._revision = encoded[-1].revision
        while len(self._ring) > self._capacity or (
            self._ring_bytes > self._capacity_bytes and len(self._ring) > 1
        ):
            oldest = self._ring.pop(next(iter(self._ring)))
            self._ring_bytes -= len(oldest.body)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def _pace(self) -> None:
        """Let watchers read: a burst must not make even the fastest of them too slow.

        One who has not read since he was last waited for is not waited for again.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        await asyncio.sleep(0)
        while time.monotonic() < deadline:
            fastest = max(
                (each.revision for each in self._watchers if each.caught_up),
                default=self._revision,
            )
            if fastest >= self._revision - self._near or fastest == self._waited_for:
                return
            await asyncio.sleep(0.002)
        self._waited_for = fastest

    # The watchers -------------------------------------------------------------------

    async def _follow(self, watcher: _Watcher, *, told: bool) -> AsyncIterator[bytes]:
        spoke = time.monotonic() if told else float("-inf")
        while True:
            if self._stopping:
                raise StoppingError("the service is stopping: resume from the last token")
            if watcher.epoch != self._epoch:
                if (await self._index.head())[0] != watcher.epoch:
                    watcher.caught_up = False
                    async for message in self._snapshot(watcher):
                        yield message
                    spoke = time.monotonic()
                elif watcher.epoch != self._epoch:
                    self._rung.set()  # the reader has not seen the new epoch yet
                    await _wait(self._moved, _POLL_SECONDS)
                continue
            for revision, text in await self._told(watcher):
                watcher.revision = revision
                if text is not None:
                    yield text
                    spoke = time.monotonic()
                if watcher.epoch != self._epoch:
                    break
            silent = time.monotonic() - spoke
            if watcher.caught_up and silent >= self._checkpoint_seconds:
                token = watcher.tokens.token(watcher.revision)
                yield events.checkpoint(token, watcher.revision)
                spoke = time.monotonic()
            # Nothing is awaited from here to the wait, so nothing can be missed between.
            elif self._is_up_to_date(watcher):
                await _wait(self._moved, self._checkpoint_seconds - silent)

    def _is_up_to_date(self, watcher: _Watcher) -> bool:
        there = watcher.epoch == self._epoch and watcher.revision >= self._revision
        return there and watcher.caught_up and not self._stopping

    async def _told(self, watcher: _Watcher) -> list[tuple[int, bytes | None]]:
        """What is to be sent now, as messages, each with the revision behind it.

        Who watches everything, and stands where others stand, is sent the very same bytes: to
        make them costs more than to send them.
        """
        first, last = watcher.revision + 1, min(self._revision, watcher.revision + _PAGE)
        key = (watcher.epoch, first, last)
        shared = not watcher.run_id and first in self._ring
        if shared and (made := self._made.get(key)) is not None:
            return made
        made = [
            (batch[-1].revision, watcher.message(batch))
            for batch in events.batches(await self._next(watcher))
        ]
        if shared and made:
            while len(self._made) >= _MADE:
                del self._made[next(iter(self._made))]
            self._made[key] = made
        return made

    async def _next(self, watcher: _Watcher) -> list[Event]:
        """What is to be sent now: from the ring, or from the log for one who comes from afar."""
        if watcher.revision >= self._revision:
            watcher.caught_up = True
            return []
        following = watcher.revision + 1
        last = min(self._revision, watcher.revision + _PAGE)
        if following in self._ring:
            return [self._ring[revision] for revision in range(following, last + 1)]
        if watcher.caught_up:
            self._dropped.inc()
            raise WatcherTooSlowError(
                f"this watcher is more than {len(self._ring):,} changes behind: "
                "resume from its last token, and read faster"
            )
        try:
            news = await self._index.news(watcher.epoch, watcher.revision, _PAGE)
        except RevisionGoneError:
            raise unusable("the change log no longer reaches back to it") from None
        if news.epoch != watcher.epoch:
            self._rung.set()
            return []
        if not news.changes:  # there are newer ones, and of these none is kept
            raise unusable("the change log no longer reaches back to it")
        return events.encode(news.changes, news.rows, self._clock())

    async def _snapshot(self, watcher: _Watcher) -> AsyncIterator[bytes]:
        """Everything there is; then the watcher stands where the snapshot began."""
        while True:
            yield events.RESET
            epoch, revision = await self._index.head()
            async for rows in self._everything(watcher.run_id):
                now = self._clock()
                for batch in events.batches(events.present(row, now) for row in rows):
                    yield events.message(batch, None)
                if self._stopping:
                    raise StoppingError("the service is stopping: start at a snapshot elsewhere")
            if (await self._index.head())[0] == epoch:
                break
        watcher.at(epoch, revision)
        yield events.snapshot_end(watcher.tokens.token(revision), revision)

    async def _everything(self, run_id: str) -> AsyncIterator[list[RunRow] | list[ResultRow]]:
        if not run_id:
            behind = ""
            while runs := await self._index.walk("run", behind, _PAGE):
                yield runs
                behind = _id(runs[-1])
            behind = ""
            while results := await self._index.walk("result", behind, _PAGE):
                yield results
                behind = _id(results[-1])
            return
        run = await self._index.run(run_id)
        yield [run] if run else []
        place: Position | None = None
        while found := await self._index.list_results(run_id, place, _PAGE):
            yield found
            place = Position(found[-1].created_at, found[-1].id)


def _id(row: RunRow | ResultRow) -> str:
    return row.run.id if isinstance(row, RunRow) else row.id


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
