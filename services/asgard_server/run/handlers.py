# ruff: noqa: D102 - what each RPC does is said once, in run_service.proto
"""RunService: each RPC is a straight line from request over domain to the ports.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from typing import Any

import grpc
from gimle.asgard.core.documents import RunDocument
from gimle.asgard.core.ids import check_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from asgard_server.auth.callers import caller
from asgard_server.rpc.pages import size as page_size
from asgard_server.run import belonging, codec, domain, limits, pages, rights
from asgard_server.run.apart import SMALL_BYTES, apart
from asgard_server.run.arrays import Arrays
from asgard_server.run.arriving import Arriving
from asgard_server.run.creating import Claim, Creator
from asgard_server.run.fencing import Fence
from asgard_server.run.finding import Finder
from asgard_server.run.gate import Gate
from asgard_server.run.grant_handlers import GrantHandlers
from asgard_server.run.granting import Granting
from asgard_server.run.naming import Names, nobody_knows
from asgard_server.run.observe import Observer
from asgard_server.run.result_handlers import ResultHandlers
from asgard_server.run.store import CreatingAtOnce, Documents, Key, Position, RunIndex
from asgard_server.run.uploads import Kind, Uploads
from asgard_server.run.watch import RunWatch

Context = grpc.aio.ServicerContext[Any, Any]

# What came in pieces is never small.
_LARGE = SMALL_BYTES + 1


class RunHandlers(ResultHandlers, GrantHandlers, pb_grpc.RunServiceServicer):
    """The RPCs of RunService over the ports. `drawing` is the pool that renders."""

    def __init__(
        self,
        documents: Documents,
        index: RunIndex,
        observer: Observer,
        watch: RunWatch,
        drawing: Executor,
        clock: Callable[[], datetime],
        granting: Granting,
        arriving: Arriving,
        uploads: Uploads | None = None,
        at_once: CreatingAtOnce | None = None,
        names: Names = nobody_knows,
    ) -> None:
        self._names = names
        self._granting = granting
        self._arriving = arriving
        self._uploads = uploads or Uploads()
        self._documents = documents
        self._index = index
        self._observer = observer
        self._watch = watch
        self._drawing = drawing
        self._clock = clock
        self._creator = Creator(documents, index, observer, clock, at_once)
        self._fence = Fence(index)
        self._gate = Gate(documents, index)
        self._finder = Finder(documents, index, observer, clock)

    # Runs ---------------------------------------------------------------------------

    async def CreateRun(
        self, request: pb.CreateRunRequest, context: Context
    ) -> pb.CreateRunResponse:
        by = caller()
        whose = await belonging.made_by(request, by, self._names)
        new = await apart(len(request.metadata), codec.new_run, request)
        run = domain.run_document(replace(new, whose=whose) if whose else new, self._clock())
        digest = codec.run_digest(request) if new.id else None
        claim = Claim(digest, bool(new.created_at), reads=belonging.reads(by))
        row = await self._creator.run(run, (), claim)
        return pb.CreateRunResponse(run=codec.run_message(row, self._clock()))

    async def SaveRun(self, request: pb.SaveRunRequest, context: Context) -> pb.SaveRunResponse:
        arrays = [result.arrays for result in request.results]
        return await self._save(request, arrays, codec.batch_size(request))

    async def _save(
        self, request: pb.SaveRunRequest, arrays: Sequence[Arrays], size: int
    ) -> pb.SaveRunResponse:
        by = caller()
        whose = await belonging.made_by(request.run, by, self._names)
        arrays = [
            await self._with_uploaded(result, request.run.run_id, its, f"results[{place}].")
            for place, (result, its) in enumerate(zip(request.results, arrays, strict=True))
        ]
        new, results = await apart(size, codec.new_batch, request, arrays)
        run, made = domain.batch(
            replace(new, whose=whose) if whose else new, results, self._clock()
        )
        digest = await apart(size, codec.batch_digest, request, arrays) if new.id else None
        given = tuple(each.id for each in results if each.id)
        await self._creator.run(
            run, made, Claim(digest, bool(new.created_at), given, belonging.reads(by))
        )
        row, ids = await self._finder.known(run.id)
        first = (await self._finder.run(run.id)).results[: len(made)]
        rows = await self._index.rows([Key("result", each) for each in first])
        return pb.SaveRunResponse(
            run=codec.run_message(row, self._clock(), ids),
            results=codec.result_messages(rows, first),
        )

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        await self._gate.run(check_id(request.run_id), caller())
        row, ids = await self._finder.known(request.run_id)
        return pb.GetRunResponse(run=codec.run_message(row, self._clock(), ids))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        query = limits.search_text(request.query)
        size = page_size(request.page_size)
        place = pages.page_position(request.page_token, "runs", query)
        rows, total = await self._index.list_runs(
            query, place and Position(*place), size + 1, belonging.keys(caller())
        )
        now = self._clock()
        return pb.ListRunsResponse(
            runs=[codec.run_message(row, now) for row in rows[:size]],
            next_page_token=pages.next_page(
                [(row.run.created_at, row.run.id) for row in rows], size, "runs", query
            ),
            total_size=total,
        )

    async def UpdateRun(
        self, request: pb.UpdateRunRequest, context: Context
    ) -> pb.UpdateRunResponse:
        run_id, by = check_id(request.run_id), caller()
        await self._gate.run(run_id, by, rights.require_change)
        given = await apart(len(request.metadata), codec.run_change, request)
        whose = await belonging.asked(request, self._names)
        values = limits.run_values(given)
        seen = await self._finder.seen(run_id, request.etag)
        now = self._clock()

        def changed(run: RunDocument) -> RunDocument:
            run = domain.unchanged(rights.require_change(run, by), seen)
            return rights.given(domain.changed(run, values, now), whose, by, now)

        if belonging.is_said(request, by):
            await self._documents.update_run(
                run_id, lambda run: belonging.told(changed(run), request, now)
            )
        else:
            await self._documents.update_run(run_id, changed)
        return pb.UpdateRunResponse(run=await self._finder.observed(run_id))

    async def FinishRun(
        self, request: pb.FinishRunRequest, context: Context
    ) -> pb.FinishRunResponse:
        run_id, by = check_id(request.run_id), caller()
        named = codec.status_name(request.status)
        status = domain.ending(named, by_service=by.sees_everything)
        ended_at, now = codec.moment(request, "finish_time"), self._clock()
        await self._documents.update_run(
            run_id,
            lambda run: domain.finished(rights.require_change(run, by), status, now, ended_at),
        )
        return pb.FinishRunResponse(run=await self._finder.observed(run_id))

    async def DeleteRun(
        self, request: pb.DeleteRunRequest, context: Context
    ) -> pb.DeleteRunResponse:
        key = Key("run", check_id(request.run_id))
        await self._gate.run(key.id, caller(), rights.require_delete)
        results = await self._index.result_ids(key.id)
        await self._documents.delete(key, results)
        await self._observer.deleted(*(Key("result", each) for each in results), key)
        return pb.DeleteRunResponse()

    # Calls in pieces ----------------------------------------------------------------

    async def WriteResult(
        self, request_iterator: AsyncIterator[pb.WriteResultRequest], context: Context
    ) -> pb.WriteResultResponse:
        call = await self._uploads.receive(request_iterator, self._check_target)
        if call.kind == "add":
            added = await self._add(call.request, call.arrays[0], _LARGE)
            return pb.WriteResultResponse(add=added)
        if call.kind == "append":
            grown = await self._append(call.request, call.arrays[0], _LARGE)
            return pb.WriteResultResponse(append=grown)
        saved = await self._save(call.request, call.arrays, _LARGE)
        return pb.WriteResultResponse(save=saved)

    async def _check_target(self, kind: Kind, request: Any) -> None:
        """Refuse a call to what is not there, or lost, before its arrays are sent.

        Raises `NotFoundError`, `VariationRunStateError`.
        """
        by = caller()
        if kind == "add":
            await self._gate.run(check_id(request.run_id), by, rights.require_change)
            await self._finder.found(Key("run", check_id(request.run_id)))
            await self._fence.check(request.run_id)
        elif kind == "append":
            key = await self._gate.key(request.result_id, by, rights.require_change)
            await self._finder.found(key)
            await self._fence.check_result(request.result_id)
        else:
            await belonging.made_by(request.run, by, self._names)

    # Changes ------------------------------------------------------------------------

    async def WatchRuns(self, request: pb.WatchRunsRequest, context: Context) -> AsyncIterator[Any]:
        """Yields serialised responses: each change is encoded once for all watchers."""
        async for message in self._watch.watch(
            snapshot=request.start == pb.WatchRunsRequest.START_SNAPSHOT,
            token=request.resume_token,
            run_id=check_id(request.run_id) if request.run_id else "",
            by=caller(),
        ):
            yield message
