"""GET /api/runs: the list, kept for three seconds unless something changes before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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
        self._under_way: dict[Asked, tuple[int, asyncio.Task[Answer]]] = {}

    async def get(self, asked: Asked) -> Answer:
        """Answer a list. Raises `grpc.aio.AioRpcError`."""
        version = self._version()
        kept = self._kept.get(asked)
        if kept is not None and kept.version == version and time.monotonic() < kept.until:
            return kept.answer
        under_way = self._under_way.get(asked)
        if under_way is None or under_way[0] != version:
            task = asyncio.ensure_future(self._compute(asked, version))
            self._under_way[asked] = (version, task)
            task.add_done_callback(lambda done: self._done(asked, done))
        else:
            task = under_way[1]
        # One caller that goes away does not take the answer from the others.
        return await asyncio.shield(task)

    def _done(self, asked: Asked, task: asyncio.Task[Answer]) -> None:
        under_way = self._under_way.get(asked)
        if under_way is not None and under_way[1] is task:
            del self._under_way[asked]
        if not task.cancelled():
            task.exception()  # looked at here, in case every caller has gone

    async def _compute(self, asked: Asked, version: int) -> Answer:
        pieces: list[bytes] = []
        token, headers = asked.page_token, {}
        while True:
            request = pb.ListRunsRequest(
                page_size=asked.page_size or PAGE, page_token=token, query=asked.query
            )
            reply = await self._list_runs(request)
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
        answer = Answer(b"[%b]" % b",".join(pieces), headers=headers)
        if self._seconds > 0:
            self._keep(asked, _Kept(version, time.monotonic() + self._seconds, answer))
        return answer

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
