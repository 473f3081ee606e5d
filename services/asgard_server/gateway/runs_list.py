"""GET /api/runs: the list, kept for three seconds unless something changes before.

What one caller may see is nobody else's: only what the local user sees is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.gateway.answers import Answer
from asgard_server.gateway.encode import Encoders

ITEM = ("id", "name", "created_at", "equation", "circuit", "result_count", "tags")
PAGE = 1_000
_KEPT = 64
_KEPT_BYTES = 64 << 20
_INLINE_BYTES = 65_536

ListRuns = Callable[[pb.ListRunsRequest], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list was asked for. `page_size` 0 means all of it."""

    page_size: int = 0
    page_token: str = ""
    query: str = ""


@dataclass(slots=True)
class _Kept:
    version: int
    until: float
    answer: Answer


class _Flight:
    """A computation that callers wait for. `version` is None until it begins."""

    def __init__(
        self,
        fly: Callable[[Asked, _Flight, _Flight | None], Coroutine[Any, Any, Answer]],
        asked: Asked,
        behind: _Flight | None,
    ) -> None:
        self.version: int | None = None
        self.task = asyncio.ensure_future(fly(asked, self, behind))
        # Its error is looked at here too, in case every caller has gone.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())


class RunsList:
    """Computes lists, each once for all who ask for it at the same time.

    `version` is what the list may be older than: a caller never gets an answer
    whose computation began before a change that was known when it asked.
    """

    def __init__(
        self,
        list_runs: ListRuns,
        encoders: Encoders,
        version: Callable[[], int],
        cache_seconds: float,
    ) -> None:
        self._list_runs = list_runs
        self._item = encoders.only(pb.Run.DESCRIPTOR, ITEM)
        self._version = version
        self._seconds = cache_seconds
        self._kept: dict[Asked, _Kept] = {}
        self._flights: dict[Asked, _Flight] = {}

    async def of_one(self, asked: Asked, list_runs: ListRuns) -> Answer:
        """Answer a list as one caller sees it, for nobody else. Raises `grpc.aio.AioRpcError`."""
        return await self._computed(asked, list_runs)

    async def get(self, asked: Asked) -> Answer:
        """Answer the list of everything. Raises `grpc.aio.AioRpcError`."""
        version = self._version()
        kept = self._kept.get(asked)
        if kept is not None and kept.version == version and time.monotonic() < kept.until:
            return kept.answer
        flight = self._flights.get(asked)
        if flight is None or flight.version not in (None, version):
            flight = self._flights[asked] = _Flight(self._fly, asked, behind=flight)
        # One caller that goes away does not take the answer from the others.
        return await asyncio.shield(flight.task)

    async def _fly(self, asked: Asked, flight: _Flight, behind: _Flight | None) -> Answer:
        """Compute, behind the computation before: however fast changes come, one runs."""
        try:
            if behind is not None:
                await asyncio.wait({behind.task})
            flight.version = self._version()
            return await self._compute(asked, flight.version)
        finally:
            if self._flights.get(asked) is flight:
                del self._flights[asked]

    async def _compute(self, asked: Asked, version: int) -> Answer:
        answer = await self._computed(asked, self._list_runs)
        if self._seconds > 0:
            self._keep(asked, _Kept(version, time.monotonic() + self._seconds, answer))
        return answer

    async def _computed(self, asked: Asked, list_runs: ListRuns) -> Answer:
        pieces: list[bytes] = []
        token, headers = asked.page_token, {}
        while True:
            request = pb.ListRunsRequest(
                page_size=asked.page_size or PAGE, page_token=token, query=asked.query
            )
            reply = await list_runs(request)
            if len(reply) <= _INLINE_BYTES:
                text, token = self._items(reply)
            else:
                text, token = await asyncio.to_thread(self._items, reply)
            if text:
                pieces.append(text)
            if not token or asked.page_size:
                break
        if token:
            headers["link"] = f'<{self._address(asked, token)}>; rel="next"'
        return Answer(b"[%b]" % b",".join(pieces), headers=headers)

    def _keep(self, asked: Asked, new: _Kept) -> None:
        """Put an answer in the place of its older self, and of what is stale or too much."""
        now = time.monotonic()
        self._kept = {
            key: kept
            for key, kept in self._kept.items()
            if key != asked and kept.version == new.version and now < kept.until
        }
        self._kept[asked] = new
        size = sum(len(kept.answer.body) for kept in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > _KEPT or size > _KEPT_BYTES):
            oldest = self._kept.pop(next(iter(self._kept)))
            size -= len(oldest.answer.body)

    def _items(self, reply: bytes) -> tuple[bytes, str]:
        """Items of a page without the brackets around them, and the next page's token."""
        page = pb.ListRunsResponse.FromString(reply)
        return orjson.dumps([self._item(run) for run in page.runs])[1:-1], page.next_page_token

    @staticmethod
    def _address(asked: Asked, token: str) -> str:
        words = {"page_size": str(asked.page_size), "page_token": token}
        if asked.query:
            words["query"] = asked.query
        return f"/api/runs?{urlencode(words)}"
