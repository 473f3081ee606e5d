# ruff: noqa: D102 - what each RPC does is said once, in run_service.proto
"""The RPCs of RunService about results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from datetime import datetime
from typing import Any

import grpc
from gimle.asgard.core.documents import etag
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.ids import check_id
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from gimle.asgard.v1.new_result_pb2 import NewResult

from asgard_server.auth.callers import caller
from asgard_server.rpc.fields import optional
from asgard_server.rpc.pages import size as page_size
from asgard_server.run import codec, domain, limits, pages, rights
from asgard_server.run.apart import apart
from asgard_server.run.arrays import Arrays
from asgard_server.run.arriving import Arriving
from asgard_server.run.codec import uploaded
from asgard_server.run.creating import Claim, Creator
from asgard_server.run.fencing import Fence
from asgard_server.run.finding import Finder
from asgard_server.run.gate import Gate
from asgard_server.run.lazy import ArrayMovedError
from asgard_server.run.observe import Observer
from asgard_server.run.store import Documents, Key, Position, RunIndex

Context = grpc.aio.ServicerContext[Any, Any]

# So often a result is read anew that grows while it is drawn.
_LOOKS = 5


class ResultHandlers(pb_grpc.RunServiceServicer):
    """Adding, growing, reading and drawing results."""

    _arriving: Arriving
    _clock: Callable[[], datetime]
    _creator: Creator
    _documents: Documents
    _drawing: Executor
    _fence: Fence
    _finder: Finder
    _gate: Gate
    _index: RunIndex
    _observer: Observer

    async def AddResult(
        self, request: pb.AddResultRequest, context: Context
    ) -> pb.AddResultResponse:
        return await self._add(request, request.result.arrays, codec.result_size(request.result))

    async def _add(
        self, request: pb.AddResultRequest, arrays: Arrays, size: int
    ) -> pb.AddResultResponse:
        run_id, given = check_id(request.run_id), request.result
        await self._gate.run(run_id, caller(), rights.require_change)
        await self._fence.check(run_id)
        arrays = await self._with_uploaded(given, run_id, arrays, "result.")
        new = await apart(size, codec.new_result, given, arrays, "result.")
        result = domain.result_document(new, run_id, self._clock(), "result.")
        digest = None
        if new.id:
            digest = await apart(size, codec.result_digest, given, run_id, arrays)
        row = await self._creator.result(result, Claim(digest))
        return pb.AddResultResponse(result=codec.result_message(row))

    async def _with_uploaded(
        self, given: NewResult, run_id: str, arrays: Arrays, at: str
    ) -> Arrays:
        """The arrays of a result with those that its client has put into the store."""
        if not given.uploaded:
            return arrays
        sent = uploaded.sent(given, at)
        if await self._documents.read(Key("result", given.result_id)) is None:
            found = await self._arriving.arrived(given.result_id, run_id, sent, at)
            return {**arrays, **uploaded.placed(found)}
        # A repeat: what is stored has been looked at.
        known = await self._arriving.known(given.result_id, sent)
        return {**arrays, **uploaded.repeated(sent), **uploaded.placed(known)}

    async def AppendResult(
        self, request: AppendResultRequest, context: Context
    ) -> pb.AppendResultResponse:
        return await self._append(request, request.arrays, codec.data_size(request))

    async def _append(
        self, request: AppendResultRequest, arrays: Arrays, size: int
    ) -> pb.AppendResultResponse:
        key = await self._gate.key(request.result_id, caller(), rights.require_change)
        await self._fence.check_result(key.id)
        at = limits.append_length(optional(request, "expected_length"))
        if request.uploaded:
            sent = uploaded.sent_rows(request)
            found = await self._arriving.rows_arrived(request.upload_id, key.id, sent)
            arrays = {**arrays, **uploaded.placed(found)}
        rows = await apart(size, codec.data, request.data, arrays)
        async with self._arriving.taking(request.upload_id if request.uploaded else ""):
            grown = await self._documents.append(key.id, rows, at)
        await self._observer.observe(key, Key("run", grown.run_id))
        return pb.AppendResultResponse(result=await self._finder.stored(key))

    async def GetResult(
        self, request: pb.GetResultRequest, context: Context
    ) -> pb.GetResultResponse:
        key = await self._gate.key(request.result_id, caller())
        return pb.GetResultResponse(result=await self._finder.stored(key))

    async def ReadResult(
        self, request: one_pb.ReadResultRequest, context: Context
    ) -> AsyncIterator[Any]:
        """Yields serialised responses, as every stream of this server does."""
        key = await self._gate.key(request.result_id, caller())
        result = await self._documents.open_result(key.id)
        parts = codec.parts(result)
        # Each next part may read a file, or encode much: not on the loop.
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    async def ListResults(
        self, request: ListResultsRequest, context: Context
    ) -> pb.ListResultsResponse:
        run_id = check_id(request.run_id)
        size = page_size(request.page_size)
        place = pages.page_position(request.page_token, "results", run_id)
        await self._gate.run(run_id, caller())
        await self._finder.known(run_id)
        rows = await self._index.list_results(run_id, place and Position(*place), size + 1)
        return pb.ListResultsResponse(
            results=[codec.result_message(row) for row in rows[:size]],
            next_page_token=pages.next_page(
                [(row.created_at, row.id) for row in rows], size, "results", run_id
            ),
        )

    async def DeleteResult(
        self, request: one_pb.DeleteResultRequest, context: Context
    ) -> one_pb.DeleteResultResponse:
        key = await self._gate.key(request.result_id, caller(), rights.require_change)
        result = await self._finder.stored(key)
        await self._documents.delete(key)
        await self._observer.deleted(key, Key("run", result.run_id))
        return one_pb.DeleteResultResponse()

    async def RenderResult(
        self, request: render_pb.RenderResultRequest, context: Context
    ) -> render_pb.RenderResultResponse:
        key = await self._gate.key(request.result_id, caller())
        options = codec.render_options(request)
        found = await self._finder.found(key)
        name = await apart(len(found.body), etag, found.body)
        loop = asyncio.get_running_loop()
        for attempt in range(_LOOKS):
            result = await self._documents.look_at(key.id)
            try:
                rendered = await loop.run_in_executor(self._drawing, codec.drawn, result, options)
                break
            except ArrayMovedError as error:
                if attempt + 1 == _LOOKS:
                    problem = f"its array file {error} changes all the time"
                    raise DocumentError(key.id, problem) from error
        return codec.view_message(rendered, codec.view_etag(name, request))
