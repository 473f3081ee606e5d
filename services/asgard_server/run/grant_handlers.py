# ruff: noqa: D102 - what each RPC does is said once, in run_service.proto
"""The RPCs of RunService about arrays that go straight to the store, and come straight from it."""

from __future__ import annotations

from typing import Any

import grpc
from gimle.asgard.core.ids import check_id
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from asgard_server.auth.callers import caller
from asgard_server.run import rights
from asgard_server.run.apart import apart
from asgard_server.run.codec import uploaded
from asgard_server.run.fencing import Fence
from asgard_server.run.finding import Finder
from asgard_server.run.gate import Gate
from asgard_server.run.granting import Granting

Context = grpc.aio.ServicerContext[Any, Any]


class GrantHandlers(pb_grpc.RunServiceServicer):
    """Grants of uploads and downloads."""

    _fence: Fence
    _finder: Finder
    _gate: Gate
    _granting: Granting

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
        key = await self._gate.key(request.result_id, caller())
        found = await self._finder.found(key)
        size = len(found.body)
        paths = await apart(size, uploaded.array_paths, key.id, found)
        lent = await self._granting.downloads(paths) if paths else []
        return granted_pb.CreateResultDownloadsResponse(
            downloads=uploaded.downloads(key.id, paths, lent)
        )
