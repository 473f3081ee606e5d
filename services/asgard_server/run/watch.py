"""WatchRuns: the change log of runs and results, to each what it may see."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.auth.principal import Principal
from asgard_server.feed.feed import Feed
from asgard_server.run import events, rights
from asgard_server.run.store import (
    Position,
    Readers,
    ResultRow,
    RevisionGoneError,
    RunIndex,
    RunRow,
)
from asgard_server.watching.audience import Audience
from asgard_server.watching.frames import Event, Frames
from asgard_server.watching.log_watch import LogWatch
from asgard_server.watching.source import PAGE, LogGoneError, News
from asgard_server.watching.tokens import Tokens

TOPIC = "runs"
# A letter for the log of runs: a token of another service's log is not of this kind.
TOKENS = Tokens(b"r", "WatchRuns", "runs or principals")
_FRAMES = Frames(pb.WatchRunsResponse)

Rows = Sequence[RunRow] | Sequence[ResultRow]


class RunWatch(LogWatch):
    """Everybody who watches runs and results. `limits` are those of `LogWatch`."""

    def __init__(
        self, index: RunIndex, feed: Feed, clock: Callable[[], datetime], **limits: Any
    ) -> None:
        self._runs = _Runs(index, clock)
        super().__init__(self._runs, feed, TOPIC, _FRAMES, TOKENS, **limits)

    def watch(
        self, *, snapshot: bool, token: str, run_id: str, by: Principal
    ) -> AsyncGenerator[bytes, None]:
        """Yield serialised `WatchRunsResponse`s of what a caller may see, of one run where one is
        named, until it leaves.

        Raises `ResumeTokenUnusableError`, `WatcherTooSlowError`, `StoppingError`; a token of a
        caller of other organisations or teams is unusable.
        """
        audience = self._runs.audience(by, run_id)
        return self.follow(snapshot=snapshot, token=token, scope=run_id, audience=audience)


class _Runs:
    """The index of runs and results as a `Source`; the scope is a run's id."""

    def __init__(self, index: RunIndex, clock: Callable[[], datetime]) -> None:
        self._index = index
        self._clock = clock

    def audience(self, by: Principal, run_id: str) -> Audience | None:
        """What is told to a caller; None for the local user, who is told everything."""
        if by.sees_everything and not by.is_service:
            return None

        async def everything() -> AsyncIterator[list[Event]]:
            async for rows in self._rows(run_id, by):
                circles = await self._circles(rows)
                now = self._clock()
                yield [
                    events.present(row, now, circles.get(_run_of(row)), told=by.is_service)
                    for row in rows
                ]

        if by.is_service:
            # Nameless, as the local user: tokens of before anybody was asked are of use.
            return Audience("", None, True, everything)
        name = hashlib.sha256("\n".join(sorted(by.keys)).encode()).hexdigest()
        return Audience(name, by.keys, False, everything)

    async def head(self) -> tuple[str, int]:
        return await self._index.head()

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        try:
            found = await self._index.news(epoch, revision, limit)
        except RevisionGoneError:
            raise LogGoneError from None
        encoded = events.encode(found.changes, found.rows, self._clock(), found.circles)
        return News(found.epoch, found.head, encoded)

    async def everything(self, scope: str) -> AsyncIterator[list[Event]]:
        async for rows in self._rows(scope, None):
            now = self._clock()
            yield [events.present(row, now, None, told=False) for row in rows]

    async def _circles(self, rows: Rows) -> Mapping[str, Readers]:
        """Who may read the runs of these rows."""
        known = {row.run.id: rights.readers_of(row.run) for row in rows if isinstance(row, RunRow)}
        if len(known) == len(rows):
            return known
        found = await self._index.circles(sorted({_run_of(row) for row in rows}))
        # A result whose run is not there is nobody's to read.
        return {run_id: found.get(run_id, frozenset()) for run_id in map(_run_of, rows)}

    async def _rows(self, run_id: str, by: Principal | None) -> AsyncIterator[Rows]:
        keys = None if by is None or by.sees_everything else by.keys
        if not run_id:
            behind = ""
            while runs := await self._index.walk("run", behind, PAGE, keys):
                yield runs
                behind = _id(runs[-1])
            behind = ""
            while results := await self._index.walk("result", behind, PAGE, keys):
                yield results
                behind = _id(results[-1])
            return
        run = await self._index.run(run_id)
        if run is not None and by is not None and not rights.may_read(run.run, by):
            return
        yield [run] if run else []
        place: Position | None = None
        while found := await self._index.list_results(run_id, place, PAGE):
            if run is None and keys is not None:
                return
            yield found
            place = Position(found[-1].created_at, found[-1].id)


def _run_of(row: RunRow | ResultRow) -> str:
    return row.run.id if isinstance(row, RunRow) else row.run_id


def _id(row: RunRow | ResultRow) -> str:
    return row.run.id if isinstance(row, RunRow) else row.id
