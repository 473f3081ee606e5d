# ruff: noqa: D102 - what each RPC does is said once, in asset_service.proto
"""AssetService: each RPC is a straight line from request to the keeper or the finisher.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import asset_requests_pb2 as pb
from gimle.asgard.v1 import asset_service_pb2_grpc as pb_grpc
from google.api.httpbody_pb2 import HttpBody

from asgard_server.asset import codec, names, wishes
from asgard_server.asset.access_handlers import AccessHandlers, FlagHandlers
from asgard_server.asset.access_store import Audit
from asgard_server.asset.domain import Asset
from asgard_server.asset.finding import Finder
from asgard_server.asset.finding_handlers import FindingHandlers
from asgard_server.asset.finishing import Finisher
from asgard_server.asset.flagging import Flagger
from asgard_server.asset.keeping import Keeper
from asgard_server.asset.listing import Lists
from asgard_server.asset.preview import preview
from asgard_server.asset.sharing import Sharer
from asgard_server.asset.watch import AssetWatch
from asgard_server.auth.callers import caller
from asgard_server.rpc import pages
from asgard_server.rpc.fields import timestamp

Context = grpc.aio.ServicerContext[Any, Any]


class LifeHandlers(pb_grpc.AssetServiceServicer):
    """The RPCs of an asset's life: from its creation to its deletion."""

    def __init__(
        self, keeper: Keeper, finisher: Finisher, lists: Lists, clock: Callable[[], datetime]
    ) -> None:
        self._keeper = keeper
        self._finisher = finisher
        self._lists = lists
        self._clock = clock

    # Making and reading ---------------------------------------------------------------

    async def CreateAsset(
        self, request: pb.CreateAssetRequest, context: Context
    ) -> pb.CreateAssetResponse:
        by, now = caller(), self._clock()
        if codec.is_large(request):
            asked = await asyncio.to_thread(lambda: wishes.asked(codec.wish(request), by.sub, now))
        else:
            asked = wishes.asked(codec.wish(request), by.sub, now)
        return codec.made(await self._keeper.create(by, asked))

    async def GetAsset(self, request: pb.GetAssetRequest, context: Context) -> pb.GetAssetResponse:
        by = caller()
        asset_id = request.asset_id
        if request.name:
            if asset_id:
                raise InvalidFieldError("name", "is given beside asset_id", "give one of them")
            asset_id = await self._keeper.named(by, request.name)
        found = await self._keeper.show(
            by,
            asset_id,
            presigned=request.include_presigned,
            indexed=request.index_status,
            content=request.include_content,
        )
        return pb.GetAssetResponse(asset=codec.shown(found))

    async def ListAssets(
        self, request: pb.ListAssetsRequest, context: Context
    ) -> pb.ListAssetsResponse:
        size, wanted = pages.size(request.page_size), codec.wanted(request)
        listing = f"assets/{wanted}"
        found = await self._lists.page(
            caller(), wanted, pages.place(request.page_token, listing), size + 1
        )
        more = _behind(listing, found[size - 1]) if len(found) > size else ""
        return pb.ListAssetsResponse(
            assets=map(codec.asset_message, found[:size]), next_page_token=more
        )

    async def UpdateAsset(
        self, request: pb.UpdateAssetRequest, context: Context
    ) -> pb.UpdateAssetResponse:
        asset = await self._keeper.update(caller(), request.asset_id, request.metadata)
        return pb.UpdateAssetResponse(asset=codec.asset_message(asset))

    async def PresignAsset(
        self, request: pb.PresignAssetRequest, context: Context
    ) -> pb.PresignAssetResponse:
        if request.operation not in ("", "read", "write"):
            raise InvalidFieldError("operation", f"is {request.operation!r}", "give read or write")
        if request.operation == "write":
            uploads = await self._keeper.presign_writes(
                caller(), request.asset_id, request.components
            )
            return codec.written(uploads)
        urls, until = await self._keeper.presign_reads(
            caller(), request.asset_id, request.components
        )
        return pb.PresignAssetResponse(urls=urls, expire_time=timestamp(until))

    async def PreviewAsset(
        self, request: pb.PreviewAssetRequest, context: Context
    ) -> pb.PreviewAssetResponse:
        kind, body = await preview(self._keeper, caller(), request.asset_id, request.component)
        return pb.PreviewAssetResponse(body=HttpBody(content_type=kind, data=body))

    async def DeleteAsset(
        self, request: pb.DeleteAssetRequest, context: Context
    ) -> pb.DeleteAssetResponse:
        removed = await self._keeper.delete(caller(), request.asset_id)
        return codec.removed(request.asset_id, removed)

    # Finishing ------------------------------------------------------------------------

    async def FinalizeAsset(
        self, request: pb.FinalizeAssetRequest, context: Context
    ) -> pb.FinalizeAssetResponse:
        asset = await self._finisher.finalize(caller(), request.asset_id, request.lease_token)
        return pb.FinalizeAssetResponse(asset=codec.asset_message(asset))

    async def ApproveAsset(
        self, request: pb.ApproveAssetRequest, context: Context
    ) -> pb.ApproveAssetResponse:
        asset = await self._finisher.approve(caller(), request.asset_id)
        return pb.ApproveAssetResponse(asset=codec.asset_message(asset))

    async def RejectAsset(
        self, request: pb.RejectAssetRequest, context: Context
    ) -> pb.RejectAssetResponse:
        asset = await self._finisher.reject(caller(), request.asset_id, request.reason)
        return pb.RejectAssetResponse(asset=codec.asset_message(asset))

    async def BulkApproveAssets(
        self, request: pb.BulkApproveAssetsRequest, context: Context
    ) -> pb.BulkApproveAssetsResponse:
        outcomes = await self._finisher.approve_all(caller(), request.asset_ids)
        return pb.BulkApproveAssetsResponse(outcomes=map(codec.outcome, outcomes))

    async def ListReviewQueue(
        self, request: pb.ListReviewQueueRequest, context: Context
    ) -> pb.ListReviewQueueResponse:
        size, listing = pages.size(request.page_size), "reviews"
        found = await self._lists.queue(
            caller(), pages.place(request.page_token, listing), size + 1
        )
        more = _behind(listing, found[size - 1]) if len(found) > size else ""
        return pb.ListReviewQueueResponse(
            assets=map(codec.asset_message, found[:size]), next_page_token=more
        )

    # Versions -------------------------------------------------------------------------

    async def ListAssetVersions(
        self, request: pb.ListAssetVersionsRequest, context: Context
    ) -> pb.ListAssetVersionsResponse:
        by, size = caller(), pages.size(request.page_size)
        listing = f"versions/{request.asset_id}"
        below = pages.number(request.page_token, listing)
        found = await self._lists.versions(by, request.asset_id, below or None, size + 1)
        last = found[size - 1].version if len(found) > size else None
        return pb.ListAssetVersionsResponse(
            versions=map(codec.asset_message, found[:size]),
            next_page_token="" if last is None else pages.token(listing, str(last)),
            alias_history=map(codec.alias_move, await self._lists.moves(by, request.asset_id)),
        )

    async def SetAssetAlias(
        self, request: pb.SetAssetAliasRequest, context: Context
    ) -> pb.SetAssetAliasResponse:
        alias = names.alias(request.alias)
        asset = await self._lists.point(caller(), request.asset_id, alias)
        return pb.SetAssetAliasResponse(asset=codec.asset_message(asset))

    async def DeleteAssetAlias(
        self, request: pb.DeleteAssetAliasRequest, context: Context
    ) -> pb.DeleteAssetAliasResponse:
        alias = names.alias(request.alias)
        removed = await self._lists.unpoint(caller(), request.asset_id, alias)
        return pb.DeleteAssetAliasResponse(removed=removed)


class AssetHandlers(AccessHandlers, FlagHandlers, FindingHandlers, LifeHandlers):
    """All RPCs of AssetService: each group of them is a class of its own."""

    def __init__(
        self,
        keeper: Keeper,
        finisher: Finisher,
        lists: Lists,
        sharer: Sharer,
        flagger: Flagger,
        finder: Finder,
        audit: Audit,
        watch: AssetWatch,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(keeper, finisher, lists, clock)
        self._sharer = sharer
        self._flagger = flagger
        self._finder = finder
        self._audit = audit
        self._watch = watch


def _behind(listing: str, last: Asset) -> str:
    return pages.place_token(listing, last.created_at, last.id)
