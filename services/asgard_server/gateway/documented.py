"""The endpoints of the monitor's documents: /api/runs, /api/run, /api/result, /api/updates."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import orjson
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from starlette.types import ASGIApp

from asgard_server.gateway.answers import Answer, serve
from asgard_server.gateway.encode import Encoders
from asgard_server.gateway.event_stream import EventStream, Streams
from asgard_server.gateway.problems import Problem, Violation, from_grpc, invalid
from asgard_server.gateway.request import CALL_SECONDS, Request
from asgard_server.gateway.routing import Handler
from asgard_server.gateway.runs_list import Asked, RunsList
from asgard_server.gateway.updates import LAST_WORD, Updates
from asgard_server.rpc.requests import outgoing

SERVICE = "/gimle.asgard.v1.RunService/"
# Views that come with a run: so many bytes in all, and so long to wait for them.
VIEWS_BYTES = 4 << 20
VIEWS_SECONDS = 5.0
VIEWS_AT_ONCE = 4
DATA_BYTES = 1 << 20
RESULTS_PAGE = 1_000
MAX_PAGE = 1_000

RESULT = ("id", "result_type", "display", "created_at")
RESULT_ALONE = ("id", "run_id", "result_type", "display", "created_at", "data")
_INLINE_BYTES = 65_536


class Documented:
    """Handlers of the documented endpoints, over the same RPCs that /v1 has.

    `own` is the channel by which the gateway asks for itself: for lists that it keeps, of callers
    who show nothing. Whoever shows who they are gets their own.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        own: grpc.aio.Channel,
        encoders: Encoders,
        updates: Updates,
        streams: Streams,
        cache_seconds: float,
    ) -> None:
        self._channel = channel
        self._listing: Any = own.unary_unary(f"{SERVICE}ListRuns")
        self._updates = updates
        self._streams = streams
        self._run = encoders.of(pb.Run.DESCRIPTOR)
        self._result = encoders.only(pb.Result.DESCRIPTOR, RESULT)
        self._result_alone = encoders.only(pb.Result.DESCRIPTOR, RESULT_ALONE)
        self._calls: dict[str, Any] = {}
        self._runs = RunsList(self._list_runs, encoders, lambda: updates.version, cache_seconds)

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        """Yield verb, template and handler of each."""
        yield "GET", "/api/runs", self.runs
        yield "GET", "/api/run", self.run
        yield "DELETE", "/api/run", self.delete_run
        yield "GET", "/api/result", self.result
        yield "GET", "/api/updates", self.updates

    async def runs(self, request: Request) -> ASGIApp:
        """All runs, or a page of them."""
        given = request.only("page_size", "page_token", "query")
        size = given.get("page_size")
        if size is not None and (not re.fullmatch("[0-9]{1,9}", size) or int(size) < 1):
            raise invalid(
                "page_size",
                f"must be an integer from 1 (more than {MAX_PAGE} are taken as {MAX_PAGE})",
            )
        if given.get("page_token") and size is None:
            raise invalid("page_token", "needs page_size, which the page's link has too")
        asked = Asked(
            min(int(size or 0), MAX_PAGE), given.get("page_token", ""), given.get("query", "")
        )
        try:
            if request.shown:
                answer = await self._runs.of_one(asked, lambda page: self._list_for(page, request))
            else:
                answer = await self._runs.get(asked)
        except grpc.aio.AioRpcError as error:
            raise from_grpc(error) from error
        return await serve(request, answer)

    async def run(self, request: Request) -> ASGIApp:
        """One run with its results, drawn as far as four megabytes go."""
        run_id = _id(request)
        got = pb.GetRunResponse.FromString(
            await self._call("GetRun", pb.GetRunRequest(run_id=run_id), request)
        )
        results = [result async for result in self._results(got.run.run_id or run_id, request)]
        views = await self._views([r.result_id for r in results], request)
        if sum(map(len, views.values())) + 512 * len(results) <= _INLINE_BYTES:
            body = self._run_body(got.run, results, views)
        else:
            body = await asyncio.to_thread(self._run_body, got.run, results, views)
        return await serve(request, Answer(body))

    def _run_body(self, run: pb.Run, results: list[pb.Result], views: dict[str, bytes]) -> bytes:
        shown = self._run(run)
        shown["results"] = [
            {**self._result(result), **_view(result.result_id, views.get(result.result_id))}
            for result in results
        ]
        return orjson.dumps(shown)

    async def delete_run(self, request: Request) -> ASGIApp:
        """Delete a run with its results."""
        await self._call("DeleteRun", pb.DeleteRunRequest(run_id=_id(request)), request)
        self._updates.changed()
        return await serve(
            request,
            Answer(orjson.dumps({"success": True, "message": "Run deleted successfully"})),
        )

    async def result(self, request: Request) -> ASGIApp:
        """One result, its data as stored and its view."""
        result_id = _id(request)
        reply, views = await asyncio.gather(
            self._call("GetResult", pb.GetResultRequest(result_id=result_id), request),
            self._views([result_id], request),
        )
        if len(reply) <= _INLINE_BYTES:
            body = self._result_body(reply, views)
        else:
            body = await asyncio.to_thread(self._result_body, reply, views)
        return await serve(request, Answer(body))

    def _result_body(self, reply: bytes, views: dict[str, bytes]) -> bytes:
        result = pb.GetResultResponse.FromString(reply).result
        if len(result.data) > DATA_BYTES:
            result.ClearField("data")
        view = _view(result.result_id, views.get(result.result_id))
        return orjson.dumps({**self._result_alone(result), **view})

    async def updates(self, request: Request) -> ASGIApp:
        """Changes as they happen."""
        request.only()
        last = request.header(b"last-event-id")
        events = self._updates.events(last, request.caller)
        return EventStream(events, self._streams, last_word=LAST_WORD)

    async def _results(self, run_id: str, request: Request) -> Any:
        token = ""
        while True:
            page = pb.ListResultsResponse.FromString(
                await self._call(
                    "ListResults",
                    ListResultsRequest(run_id=run_id, page_size=RESULTS_PAGE, page_token=token),
                    request,
                )
            )
            for result in page.results:
                yield result
            token = page.next_page_token
            if not token:
                return

    async def _views(self, result_ids: list[str], request: Request) -> dict[str, bytes]:
        """Views by result, the first ones first, until bytes or time run out."""
        views: dict[str, bytes] = {}
        left, until = VIEWS_BYTES, time.monotonic() + VIEWS_SECONDS
        waiting: list[tuple[str, asyncio.Task[bytes | None]]] = []
        upcoming = iter(result_ids)
        try:
            while left > 0:
                while len(waiting) < VIEWS_AT_ONCE and (following := next(upcoming, None)):
                    task = asyncio.ensure_future(self._rendered(following, request))
                    waiting.append((following, task))
                if not waiting:
                    break
                result_id, first = waiting[0]
                done, _ = await asyncio.wait({first}, timeout=max(0.0, until - time.monotonic()))
                if not done:
                    break
                waiting.pop(0)
                view = first.result()
                if view is not None and len(view) <= left:
                    left -= len(view)
                    views[result_id] = view
                elif view is not None:
                    break
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
        return views

    async def _rendered(self, result_id: str, request: Request) -> bytes | None:
        """Draw a view as JSON; None when it cannot be drawn, and `view_url` will say why."""
        call = self._method("RenderResult")
        try:
            reply = await call(
                render_pb.RenderResultRequest(result_id=result_id).SerializeToString(),
                timeout=request.seconds_left,
                metadata=request.metadata,
            )
        except grpc.aio.AioRpcError:
            return None
        body = render_pb.RenderResultResponse.FromString(reply).body
        if not body.content_type.startswith("application/json"):
            return None
        return body.data or None

    async def _list_for(self, asked: pb.ListRunsRequest, request: Request) -> bytes:
        reply: bytes = await self._method("ListRuns")(
            asked.SerializeToString(), timeout=request.seconds_left, metadata=request.metadata
        )
        return reply

    async def _list_runs(self, asked: pb.ListRunsRequest) -> bytes:
        reply: bytes = await self._listing(
            asked.SerializeToString(), timeout=CALL_SECONDS, metadata=outgoing()
        )
        return reply

    async def _call(self, name: str, message: Any, request: Request) -> bytes:
        try:
            reply: bytes = await self._method(name)(
                message.SerializeToString(),
                timeout=request.seconds_left,
                metadata=request.metadata,
            )
        except grpc.aio.AioRpcError as error:
            raise _of_the_query(from_grpc(error)) from error
        return reply

    def _method(self, name: str) -> Any:
        found = self._calls.get(name)
        if found is None:
            found = self._calls[name] = self._channel.unary_unary(SERVICE + name)
        return found


def _id(request: Request) -> str:
    found = request.only("id").get("id", "")
    if not found:
        raise invalid("id", "is missing: give it as ?id=...")
    return found


def _of_the_query(problem: Problem) -> Problem:
    """Name the parameter as these endpoints do: theirs is `id`, whatever it is the id of."""
    field = problem.metadata.get("field", "")
    if field not in ("run_id", "result_id"):
        return problem
    named = problem.detail.startswith(f"{field}:")
    return replace(
        problem,
        detail=f"id{problem.detail.removeprefix(field)}" if named else problem.detail,
        metadata={**problem.metadata, "field": "id"},
        errors=tuple(
            Violation("id" if each.field == field else each.field, each.detail)
            for each in problem.errors
        ),
    )


def _view(result_id: str, view: bytes | None) -> dict[str, Any]:
    if view is not None:
        return {"view": orjson.Fragment(view)}
    return {"view_url": f"/v1/results/{result_id}/view"}
