"""WatchRuns: the change log of runs and results, watched."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Any

from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.feed.feed import Feed
from asgard_server.run import events
from asgard_server.run.store import Position, ResultRow, RevisionGoneError, RunIndex, RunRow
from asgard_server.watching.frames import Event, Frames
from asgard_server.watching.log_watch import LogWatch
from asgard_server.watching.source import PAGE, LogGoneError, News
from asgard_server.watching.tokens import Tokens

TOPIC = "runs"
# A letter for the log of runs: a token of another service's log is not of this kind.
TOKENS = Tokens(b"r", "WatchRuns", "runs")
_FRAMES = Frames(pb.WatchRunsResponse)


class RunWatch(LogWatch):
    """Everybody who watches runs and results. `limits` are those of `LogWatch`."""

    def __init__(
        self, index: RunIndex, feed: Feed, clock: Callable[[], datetime], **limits: Any
    ) -> None:
        super().__init__(_Runs(index, clock), feed, TOPIC, _FRAMES, TOKENS, **limits)

    def watch(self, *, snapshot: bool, token: str, run_id: str) -> AsyncGenerator[bytes, None]:
        """Yield serialised `WatchRunsResponse`s, of one run where one is named.

        Raises `ResumeTokenUnusableError`, `WatcherTooSlowError`, `StoppingError`.
        """
        return self.follow(snapshot=snapshot, token=token, scope=run_id)


class _Runs:
    """The index of runs and results as a `Source`; the scope is a run's id."""

    def __init__(self, index: RunIndex, clock: Callable[[], datetime]) -> None:
        self._index = index
        self._clock = clock

    async def head(self) -> tuple[str, int]:
        return await self._index.head()

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        try:
            found = await self._index.news(epoch, revision, limit)
        except RevisionGoneError:
            raise LogGoneError from None
        encoded = events.encode(found.changes, found.rows, self._clock())
        return News(found.epoch, found.head, encoded)

    async def everything(self, scope: str) -> AsyncIterator[list[Event]]:
        async for rows in self._rows(scope):
            now = self._clock()
            yield [events.present(row, now) for row in rows]

    async def _rows(self, run_id: str) -> AsyncIterator[list[RunRow] | list[ResultRow]]:
        if not run_id:
            behind = ""
            while runs := await self._index.walk("run", behind, PAGE):
                yield runs
                behind = _id(runs[-1])
            behind = ""
            while results := await self._index.walk("result", behind, PAGE):
                yield results
                behind = _id(results[-1])
            return
        run = await self._index.run(run_id)
        yield [run] if run else []
        place: Position | None = None
        while found := await self._index.list_results(run_id, place, PAGE):
            yield found
            place = Position(found[-1].created_at, found[-1].id)


def _id(row: RunRow | ResultRow) -> str:
    return row.run.id if isinstance(row, RunRow) else row.id
