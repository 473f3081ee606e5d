# ruff: noqa: D102 - what each RPC does is said once, in asset_service.proto
"""The RPCs of AssetService that find assets, and that tell of them as they change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from gimle.asgard.v1 import asset_requests_pb2 as pb
from gimle.asgard.v1 import asset_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import watch_assets_pb2 as watch_pb

from asgard_server.asset import access_codec as codec
from asgard_server.asset import finding
from asgard_server.asset.finding import Finder
from asgard_server.asset.watch import AssetWatch
from asgard_server.auth.callers import caller
from asgard_server.rpc import pages

Context = grpc.aio.ServicerContext[Any, Any]


class FindingHandlers(pb_grpc.AssetServiceServicer):
    """Search, lineage and the watch."""

    _finder: Finder
    _watch: AssetWatch

    async def SearchAssets(
        self, request: pb.SearchAssetsRequest, context: Context
    ) -> pb.SearchAssetsResponse:
        size, wanted = pages.size(request.page_size), codec.wanted(request)
        listing = f"search/{wanted}"
        behind = finding.place_of(pages.behind(request.page_token, listing))
        found = await self._finder.search(caller(), wanted, behind, size)
        page, last = finding.page_of(found, size)
        more = "" if last is None else pages.token(listing, finding.text_of(last))
        return codec.found(page, more)

    async def GetAssetLineage(
        self, request: pb.GetAssetLineageRequest, context: Context
    ) -> pb.GetAssetLineageResponse:
        found = await self._finder.lineage(
            caller(), request.asset_id, request.direction, request.depth
        )
        return codec.lineage(found)

    async def WatchAssets(
        self, request: watch_pb.WatchAssetsRequest, context: Context
    ) -> AsyncIterator[Any]:
        """Yields serialised responses: each change is encoded once for all who may see it."""
        snapshot = request.start == watch_pb.WatchAssetsRequest.START_SNAPSHOT
        async for message in self._watch.tell(
            caller(), snapshot=snapshot, token=request.resume_token
        ):
            yield message
