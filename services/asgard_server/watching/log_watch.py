"""Watching a change log: one reader of it per process, and everybody who watches.

The reader puts each change, encoded once, into a ring that all watchers share. A
watcher is a position in it: what he has not read yet is his queue, and its bound
is the ring's. One who is not there yet (he resumes, or ends a snapshot) reads the
log himself until he has caught up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import structlog
from gimle.asgard.core.errors import StoppingError, WatcherTooSlowError

from asgard_server.feed.feed import Feed
from asgard_server.rpc import metrics
from asgard_server.watching.audience import Audience
from asgard_server.watching.frames import Event, Frames, batches
from asgard_server.watching.ring import Ring
from asgard_server.watching.source import LogGoneError, Source
from asgard_server.watching.tokens import Tokens, unusable
from asgard_server.watching.watchers import Watcher, Watchers

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


class LogWatch:
    """The reader of one log, and the watchers it serves.

    `topic` is what its bell is called. `capacity` changes and `capacity_bytes` are what a watcher
    may be behind before the call ends with `WatcherTooSlowError`. A change that
    comes within `gap_seconds` of the one before waits as long.
    """

    def __init__(
        self,
        source: Source,
        feed: Feed,
        topic: str,
        frames: Frames,
        tokens: Tokens,
        *,
        capacity: int = 10_000,
        capacity_bytes: int = 67_108_864,
        checkpoint_seconds: float = 15.0,
        gap_seconds: float = _GAP_SECONDS,
    ) -> None:
        self._source = source
        self._gap_seconds = gap_seconds
        self._feed = feed
        self._topic = topic
        self._frames = frames
        self._tokens = tokens
        # What is added in one go must not push out what a watcher who keeps up has yet to read.
        self._page = max(1, min(_PAGE, capacity // 4))
        self._near = min(_NEAR, capacity // 2)
        self._waited_for = -1
        self._checkpoint_seconds = checkpoint_seconds
        # At 0 from the start: Prometheus sees no increase in what appears with its first event.
        self._dropped = metrics.DROPPED_WATCHERS.labels(topic)
        self._watchers = Watchers()
        self._ring = Ring(capacity, capacity_bytes)
        self._made: dict[tuple[str, int, int], list[tuple[int, bytes | None]]] = {}
        self._epoch = ""
        self._revision = 0
        self._heard = 0
        self._rung = asyncio.Event()
        self._watched = asyncio.Event()
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
                await asyncio.sleep(read + self._gap_seconds - time.monotonic())
                self._rung.clear()
        finally:
            listening.cancel()

    def stop(self) -> None:
        """End every watch with `StoppingError`, and refuse new ones so."""
        self._stopping = True
        self._watchers.wake()

    async def follow(
        self, *, snapshot: bool, token: str, scope: str = "", audience: Audience | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield serialised messages until the caller leaves; of one scope only, where one is given,
        or of what an audience may see.

        Raises `ResumeTokenUnusableError`, `WatcherTooSlowError`, `StoppingError`.
        """
        watcher = Watcher(scope, audience)
        self._watchers.add(watcher)
        self._watched.set()
        gauge = metrics.WATCHERS.labels(self._topic)
        gauge.inc()
        try:
            self._place(watcher, *await self._source.head())
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
            self._watchers.unlist(watcher)
            self._watchers.discard(watcher)
            if not self._watchers:
                self._watched.clear()
            gauge.dec()

    # The reader ---------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hear bells while somebody watches: to be woken by each costs as much as to send it."""
        while True:
            await self._watched.wait()
            async with self._feed.listen(self._topic) as bells:
                self._rung.set()  # what was rung before was not heard
                async for revision in bells:
                    self._heard = max(self._heard, revision)
                    self._rung.set()
                    if not self._watchers:
                        break

    async def _read_on(self) -> None:
        if not self._watchers:
            # The first who comes has the log looked at.
            if self._epoch:
                self._begin("", 0)
            return
        while True:
            news = None
            if self._epoch:
                with suppress(LogGoneError):
                    news = await self._source.news(self._epoch, self._revision, self._page)
            if news is None or news.epoch != self._epoch:
                self._begin(*await self._source.head())
                return
            # What was rung may be of another process, and unknown to an answer from memory.
            head = max(news.head, self._heard)
            metrics.WATCH_LAG.labels(self._topic).set(
                max(0, head - self._revision - len(news.events))
            )
            if not news.events:
                return
            self._add(news.events)
            await self._pace()
            if self._revision >= head:
                return

    def _begin(self, epoch: str, head: int) -> None:
        """Forget the ring: nobody watches, or the log is another one."""
        self._epoch, self._revision = epoch, head
        self._heard = head  # revisions begin again when the log does
        self._ring.clear()
        self._made.clear()
        self._watchers.begin()

    def _add(self, encoded: list[Event]) -> None:
        for event in encoded:
            self._watchers.address(event)
        self._revision = encoded[-1].revision
        self._ring.extend(encoded)
        for watcher in self._watchers:
            if watcher.keys is None or not watcher.caught_up:
                watcher.moved.set()

    async def _pace(self) -> None:
        """Let watchers read: a burst must not make even the fastest of them too slow.

        One who has not read since he was last waited for is not waited for again.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        await asyncio.sleep(0)
        while time.monotonic() < deadline:
            fastest = max(
                (each.position(self._revision) for each in self._watchers if each.caught_up),
                default=self._revision,
            )
            if fastest >= self._revision - self._near or fastest == self._waited_for:
                return
            await asyncio.sleep(0.002)
        self._waited_for = fastest

    # The watchers -------------------------------------------------------------------

    async def _follow(self, watcher: Watcher, *, told: bool) -> AsyncIterator[bytes]:
        spoke = time.monotonic() if told else float("-inf")
        while True:
            if self._stopping:
                raise StoppingError("the service is stopping: resume from the last token")
            if watcher.epoch != self._epoch:
                epoch, _ = await self._source.head()
                if epoch != watcher.epoch and watcher.epoch == self._tokens.unwritten:
                    # Of a log that nothing was written to nothing has been missed.
                    self._watchers.unlist(watcher)
                    self._place(watcher, epoch, 0)
                elif epoch != watcher.epoch:
                    self._watchers.unlist(watcher)
                    async for message in self._snapshot(watcher):
                        yield message
                    spoke = time.monotonic()
                elif watcher.epoch != self._epoch:
                    self._rung.set()  # the reader has not seen the new epoch yet
                    watcher.moved.clear()
                    await _wait(watcher.moved, _POLL_SECONDS)
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
                yield self._frames.checkpoint(token, watcher.revision)
                spoke = time.monotonic()
            # Nothing is awaited from here to the wait, so nothing can be missed between.
            elif self._is_up_to_date(watcher):
                watcher.moved.clear()
                await _wait(watcher.moved, self._checkpoint_seconds - silent)

    def _is_up_to_date(self, watcher: Watcher) -> bool:
        there = watcher.epoch == self._epoch and watcher.revision >= self._revision
        return there and watcher.caught_up and not self._stopping

    async def _told(self, watcher: Watcher) -> list[tuple[int, bytes | None]]:
        """What is to be sent now, as messages, each with the revision behind it.

        Who is told the same, and stands where others stand, is sent the very same bytes: to make
        them costs more than to send them.
        """
        if watcher.keys is not None and watcher.caught_up:
            return self._due(watcher)
        first, last = watcher.revision + 1, min(self._revision, watcher.revision + _PAGE)
        key = (f"{watcher.epoch}/{watcher.told_as}", first, last)
        shared = not watcher.scope and first in self._ring
        if shared and (made := self._made.get(key)) is not None:
            return made
        made = [
            (batch[-1].revision, self._message(watcher, batch))
            for batch in batches(await self._next(watcher))
        ]
        if shared and made:
            while len(self._made) >= _MADE:
                del self._made[next(iter(self._made))]
            self._made[key] = made
        return made

    def _due(self, watcher: Watcher) -> list[tuple[int, bytes | None]]:
        """What concerns a watcher who has caught up, as messages; else it moves on in silence."""
        if not watcher.due:
            watcher.revision = max(watcher.revision, self._revision)
            return []
        if watcher.due[0] not in self._ring:
            raise self._too_slow()
        count = min(len(watcher.due), _PAGE)
        events = [self._ring[watcher.due.popleft()] for _ in range(count)]
        return [(each[-1].revision, self._message(watcher, each)) for each in batches(events)]

    def _message(self, watcher: Watcher, batch: list[Event]) -> bytes | None:
        """One message of what this watcher wants to hear of; None for none."""
        wanted = watcher.wants(batch)
        return self._frames.message(wanted, watcher.tokens.token) if wanted else None

    def _place(self, watcher: Watcher, epoch: str, revision: int) -> None:
        watcher.epoch = epoch
        watcher.revision = revision
        watcher.tokens = self._tokens.maker(epoch, watcher.name)

    async def _next(self, watcher: Watcher) -> list[Event]:
        """What is to be sent now: from the ring, or from the log for one who comes from afar."""
        if watcher.revision >= self._revision:
            self._watchers.enlist(watcher)
            return []
        following = watcher.revision + 1
        last = min(self._revision, watcher.revision + _PAGE)
        if following in self._ring:
            return [self._ring[revision] for revision in range(following, last + 1)]
        if watcher.caught_up:
            raise self._too_slow()
        try:
            news = await self._source.news(watcher.epoch, watcher.revision, _PAGE)
        except LogGoneError:
            raise unusable("the change log no longer reaches back to it") from None
        if news.epoch != watcher.epoch:
            self._rung.set()
            return []
        if not news.events:  # there are newer ones, and of these none is kept
            raise unusable("the change log no longer reaches back to it")
        return news.events

    def _too_slow(self) -> WatcherTooSlowError:
        self._dropped.inc()
        return WatcherTooSlowError(
            f"this watcher is more than {len(self._ring):,} changes behind: "
            "resume from its last token, and read faster"
        )

    def _everything(self, watcher: Watcher) -> AsyncIterator[list[Event]]:
        if watcher.audience is not None:
            return watcher.audience.everything()
        return self._source.everything(watcher.scope)

    async def _snapshot(self, watcher: Watcher) -> AsyncIterator[bytes]:
        """Everything there is; then the watcher stands where the snapshot began."""
        while True:
            yield self._frames.reset
            epoch, revision = await self._source.head()
            async for found in self._everything(watcher):
                for batch in batches(found):
                    yield self._frames.message(batch, None)
                if self._stopping:
                    raise StoppingError("the service is stopping: start at a snapshot elsewhere")
            if (await self._source.head())[0] == epoch:
                break
        self._place(watcher, epoch, revision)
        yield self._frames.snapshot_end(watcher.tokens.token(revision), revision)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
