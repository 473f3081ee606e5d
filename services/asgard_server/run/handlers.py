# ruff: noqa: D102 - what each RPC does is said once, in run_service.proto
"""RunService: each RPC is a straight line from request over domain to the ports.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import grpc
from gimle.asgard.core.documents import RunDocument, decode_run, etag
from gimle.asgard.core.errors import DocumentError, EtagMismatchError, NotFoundError
from gimle.asgard.core.ids import check_id
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from gimle.asgard.v1.new_result_pb2 import NewResult

from asgard_server.auth.callers import caller
from asgard_server.rpc.fields import optional
from asgard_server.run import belonging, codec, domain, limits, pages, rights
from asgard_server.run.arrays import Arrays
from asgard_server.run.arriving import Arriving
from asgard_server.run.codec import uploaded
from asgard_server.run.creating import Claim, Creator
from asgard_server.run.fencing import Fence
from asgard_server.run.gate import Gate, Rule
from asgard_server.run.granting import Granting
from asgard_server.run.lazy import ArrayMovedError
from asgard_server.run.observe import Observer
from asgard_server.run.store import (
    CreatingAtOnce,
    Documents,
    Found,
    Key,
    Position,
    RunIndex,
    RunRow,
)
from asgard_server.run.uploads import Kind, Uploads
from asgard_server.run.watch import RunWatch

Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext[Any, Any]

# What the loop may parse or hash itself; more goes to a thread.
_SMALL_BYTES = 65_536

# So often a result is read anew that grows while it is drawn.
_LOOKS = 5

# What came in pieces is never small.
_LARGE = _SMALL_BYTES + 1

# A run that lists more results unknown to the index than this is left to the scan.
_UNSEEN_LIMIT = 1_000


class RunHandlers(pb_grpc.RunServiceServicer):
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
    ) -> None:
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

    # Runs ---------------------------------------------------------------------------

    async def CreateRun(
        self, request: pb.CreateRunRequest, context: Context
    ) -> pb.CreateRunResponse:
        by = caller()
        whose = belonging.made_by(request, by)
        new = await _apart(len(request.metadata), codec.new_run, request)
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
        whose = belonging.made_by(request.run, by)
        arrays = [
            await self._with_uploaded(result, request.run.run_id, its, f"results[{place}].")
            for place, (result, its) in enumerate(zip(request.results, arrays, strict=True))
        ]
        new, results = await _apart(size, codec.new_batch, request, arrays)
        run, made = domain.batch(
            replace(new, whose=whose) if whose else new, results, self._clock()
        )
        digest = await _apart(size, codec.batch_digest, request, arrays) if new.id else None
        given = tuple(each.id for each in results if each.id)
        await self._creator.run(
            run, made, Claim(digest, bool(new.created_at), given, belonging.reads(by))
        )
        row, ids = await self._known(run.id)
        first = (await self._run(run.id)).results[: len(made)]
        rows = await self._index.rows([Key("result", each) for each in first])
        return pb.SaveRunResponse(
            run=codec.run_message(row, self._clock(), ids),
            results=codec.result_messages(rows, first),
        )

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        await self._gate.run(check_id(request.run_id), caller())
        row, ids = await self._known(request.run_id)
        return pb.GetRunResponse(run=codec.run_message(row, self._clock(), ids))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        query = limits.search_text(request.query)
        size = pages.page_size(request.page_size)
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
        given = await _apart(len(request.metadata), codec.run_change, request)
        whose = codec.whose(request)
        values = limits.run_values(given)
        seen = await self._seen(run_id, request.etag)
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
        return pb.UpdateRunResponse(run=await self._observed(run_id))

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
        return pb.FinishRunResponse(run=await self._observed(run_id))

    async def DeleteRun(
        self, request: pb.DeleteRunRequest, context: Context
    ) -> pb.DeleteRunResponse:
        key = Key("run", check_id(request.run_id))
        await self._gate.run(key.id, caller(), rights.require_delete)
        results = await self._index.result_ids(key.id)
        await self._documents.delete(key, results)
        await self._observer.deleted(*(Key("result", each) for each in results), key)
        return pb.DeleteRunResponse()

    # Results ------------------------------------------------------------------------

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
        new = await _apart(size, codec.new_result, given, arrays, "result.")
        result = domain.result_document(new, run_id, self._clock(), "result.")
        digest = None
        if new.id:
            digest = await _apart(size, codec.result_digest, given, run_id, arrays)
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

    async def CreateResultUploads(
        self, request: granted_pb.CreateResultUploadsRequest, context: Context
    ) -> granted_pb.CreateResultUploadsResponse:
        asked, by = uploaded.asked(request), caller()
        if any(new.grows is None for new in asked):
            if request.run_follows:
                await self._gate.new_run(request.run_id, by)
            else:
                await self._gate.run(check_id(request.run_id), by, rights.require_change)
            await self._fence.check(check_id(request.run_id))
        for grows in {new.grows for new in asked if new.grows is not None}:
            await self._gate.result(grows, by, rights.require_change)
            await self._fence.check_result(grows)
        begun = await self._granting.begin(request.run_id, asked, run_follows=request.run_follows)
        return granted_pb.CreateResultUploadsResponse(results=map(uploaded.begun_message, begun))

    async def SignResultParts(
        self, request: granted_pb.SignResultPartsRequest, context: Context
    ) -> granted_pb.SignResultPartsResponse:
        parts = [(part.number, part.sha256) for part in request.parts]
        result_id = check_id(request.result_id, "result_id")
        by = caller()
        if not by.sees_everything and (run_id := await self._granting.run_of(result_id)):
            await self._gate.new_run(run_id, by)
        grants = await self._granting.parts(result_id, request.key, parts)
        return granted_pb.SignResultPartsResponse(grants=map(uploaded.grant_message, grants))

    async def CreateResultDownloads(
        self, request: granted_pb.CreateResultDownloadsRequest, context: Context
    ) -> granted_pb.CreateResultDownloadsResponse:
        key = await self._readable(request)
        found = await self._found(key)
        size = len(found.body)
        paths = await _apart(size, uploaded.array_paths, key.id, found)
        lent = await self._granting.downloads(paths) if paths else []
        return granted_pb.CreateResultDownloadsResponse(
            downloads=uploaded.downloads(key.id, paths, lent)
        )

    async def AppendResult(
        self, request: AppendResultRequest, context: Context
    ) -> pb.AppendResultResponse:
        return await self._append(request, request.arrays, codec.data_size(request))

    async def _append(
        self, request: AppendResultRequest, arrays: Arrays, size: int
    ) -> pb.AppendResultResponse:
        key = await self._readable(request, rights.require_change)
        await self._fence.check_result(key.id)
        at = limits.append_length(optional(request, "expected_length"))
        if request.uploaded:
            sent = uploaded.sent_rows(request)
            found = await self._arriving.rows_arrived(request.upload_id, key.id, sent)
            arrays = {**arrays, **uploaded.placed(found)}
        rows = await _apart(size, codec.data, request.data, arrays)
        async with self._arriving.taking(request.upload_id if request.uploaded else ""):
            grown = await self._documents.append(key.id, rows, at)
        await self._observer.observe(key, Key("run", grown.run_id))
        return pb.AppendResultResponse(result=await self._stored(key))

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

    async def GetResult(
        self, request: pb.GetResultRequest, context: Context
    ) -> pb.GetResultResponse:
        key = await self._readable(request)
        return pb.GetResultResponse(result=await self._stored(key))

    async def ReadResult(
        self, request: one_pb.ReadResultRequest, context: Context
    ) -> AsyncIterator[Any]:
        """Yields serialised responses, as every stream of this server does."""
        key = await self._readable(request)
        result = await self._documents.open_result(key.id)
        parts = codec.parts(result)
        # Each next part may read a file, or encode much: not on the loop.
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    async def ListResults(
        self, request: ListResultsRequest, context: Context
    ) -> pb.ListResultsResponse:
        run_id = check_id(request.run_id)
        size = pages.page_size(request.page_size)
        place = pages.page_position(request.page_token, "results", run_id)
        await self._gate.run(run_id, caller())
        await self._known(run_id)
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
        key = await self._readable(request, rights.require_change)
        result = await self._stored(key)
        await self._documents.delete(key)
        await self._observer.deleted(key, Key("run", result.run_id))
        return one_pb.DeleteResultResponse()

    async def RenderResult(
        self, request: render_pb.RenderResultRequest, context: Context
    ) -> render_pb.RenderResultResponse:
        key = await self._readable(request)
        options = codec.render_options(request)
        found = await self._found(key)
        name = await _apart(len(found.body), etag, found.body)
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

    # What several of them need ------------------------------------------------------

    async def _readable(self, request: Any, rule: Rule = rights.require_read) -> Key:
        """The result that is asked for, by a caller who may. Raises what `Gate.result` does."""
        key = Key("result", check_id(request.result_id, "result_id"))
        await self._gate.result(key.id, caller(), rule)
        return key

    async def _found(self, key: Key) -> Found:
        found = await self._documents.read(key)
        if found is None:
            raise NotFoundError(key.kind, key.id)
        return found

    async def _run(self, run_id: str) -> RunDocument:
        found = await self._found(Key("run", run_id))
        return await _apart(len(found.body), decode_run, found.body, run_id, found.modified_at)

    async def _stored(self, key: Key) -> pb.Result:
        found = await self._found(key)
        return await _apart(len(found.body), codec.stored_result, key.id, found)

    async def _seen(self, run_id: str, wanted: str) -> RunDocument | None:
        """The run the caller has seen, if an etag says so and it is still the present one."""
        if not wanted:
            return None
        found = await self._found(Key("run", run_id))
        present = await _apart(len(found.body), etag, found.body)
        if present != wanted:
            raise EtagMismatchError(present)
        return await _apart(len(found.body), decode_run, found.body, run_id, found.modified_at)

    async def _check_target(self, kind: Kind, request: Any) -> None:
        """Refuse a call to what is not there, or lost, before its arrays are sent.

        Raises `NotFoundError`, `VariationRunStateError`.
        """
        by = caller()
        if kind == "add":
            await self._gate.run(check_id(request.run_id), by, rights.require_change)
            await self._found(Key("run", check_id(request.run_id)))
            await self._fence.check(request.run_id)
        elif kind == "append":
            await self._found(await self._readable(request, rights.require_change))
            await self._fence.check_result(request.result_id)
        else:
            belonging.made_by(request.run, by)

    async def _known(self, run_id: str) -> tuple[RunRow, list[str]]:
        """A run as it is now, with its results: the union of its list and the index.

        The document decides: what it says and the index does not know yet (somebody
        else has just written it) is observed first.
        """
        found = await self._found(Key("run", run_id))
        run, name = await _apart(len(found.body), codec.decoded_run, found, run_id)
        row = await self._index.run(run_id)
        ids = await self._index.result_ids(run_id)
        known = set(ids)
        unseen = [Key("result", each) for each in run.results if each not in known]
        if row is None or row.etag != name or unseen:
            await self._observer.observe(*unseen[:_UNSEEN_LIMIT], Key("run", run_id))
            row = await self._index.run(run_id)
            ids = await self._index.result_ids(run_id)
        if row is None:
            raise NotFoundError("run", run_id)
        return row, ids

    async def _observed(self, run_id: str) -> pb.Run:
        await self._observer.observe(Key("run", run_id))
        row = await self._index.run(run_id)
        if row is None:
            raise NotFoundError("run", run_id)
        return codec.run_message(row, self._clock(), await self._index.result_ids(run_id))


async def _apart(size: int, work: Callable[..., Answer], *arguments: Any) -> Answer:
    """Do pure work here when it is small, else in a thread: the loop must not wait for it."""
    if size <= _SMALL_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
