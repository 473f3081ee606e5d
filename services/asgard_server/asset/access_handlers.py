# ruff: noqa: D102 - what each RPC does is said once, in asset_service.proto
"""The RPCs of AssetService about who may do what with an asset, what is said against it, and who
did what.
"""

from __future__ import annotations

from typing import Any

import grpc
from gimle.asgard.v1 import access_pb2 as pb
from gimle.asgard.v1 import asset_requests_pb2 as requests_pb
from gimle.asgard.v1 import asset_service_pb2_grpc as pb_grpc

from asgard_server.asset import access_codec as codec
from asgard_server.asset import pages
from asgard_server.asset.access_store import Audit
from asgard_server.asset.codec import asset_message
from asgard_server.asset.flagging import Flagger
from asgard_server.asset.sharing import Sharer
from asgard_server.auth.callers import caller

Context = grpc.aio.ServicerContext[Any, Any]


class AccessHandlers(pb_grpc.AssetServiceServicer):
    """Grants, visibility and owners, and the audit."""

    _sharer: Sharer
    _audit: Audit

    async def GrantAccess(
        self, request: pb.GrantAccessRequest, context: Context
    ) -> pb.GrantAccessResponse:
        action = codec.action_of(request.action)
        done = await self._sharer.grant(caller(), request.asset_id, request.principal_id, action)
        return pb.GrantAccessResponse(grant=codec.grant_message(done.grant), added=done.added)

    async def RevokeAccess(
        self, request: pb.RevokeAccessRequest, context: Context
    ) -> pb.RevokeAccessResponse:
        action = codec.action_of(request.action)
        removed = await self._sharer.revoke(
            caller(), request.asset_id, request.principal_id, action
        )
        return pb.RevokeAccessResponse(removed=removed)

    async def ListAccess(
        self, request: pb.ListAccessRequest, context: Context
    ) -> pb.ListAccessResponse:
        grants = await self._sharer.grants(caller(), request.asset_id)
        return pb.ListAccessResponse(grants=map(codec.grant_message, grants))

    async def ExplainAccess(
        self, request: pb.ExplainAccessRequest, context: Context
    ) -> pb.ExplainAccessResponse:
        found = await self._sharer.explain(caller(), request.asset_id, request.principal_id)
        return codec.explained(found)

    async def ShareWithScope(
        self, request: pb.ShareWithScopeRequest, context: Context
    ) -> pb.ShareWithScopeResponse:
        action = codec.action_of(request.action)
        done = await self._sharer.share(caller(), request.asset_id, request.scope_id, action)
        return pb.ShareWithScopeResponse(grant=codec.grant_message(done.grant), added=done.added)

    async def SetVisibility(
        self, request: pb.SetVisibilityRequest, context: Context
    ) -> pb.SetVisibilityResponse:
        asset = await self._sharer.set_visibility(caller(), request.asset_id, request.visibility)
        return pb.SetVisibilityResponse(asset=asset_message(asset))

    async def MoveAsset(
        self, request: pb.MoveAssetRequest, context: Context
    ) -> pb.MoveAssetResponse:
        asset = await self._sharer.move(
            caller(),
            request.asset_id,
            request.organization_id,
            request.team_id,
            request.visibility,
        )
        return pb.MoveAssetResponse(asset=asset_message(asset))

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        size, wanted = pages.size(request.page_size), codec.audit_of(request)
        listing = f"audit/{wanted}"
        below = pages.below(request.page_token, listing)
        found = await self._audit.page(wanted, caller(), below, size + 1)
        last = found[size - 1].number if len(found) > size else None
        return pb.ListAuditEntriesResponse(
            entries=map(codec.audit_entry, found[:size]),
            next_page_token="" if last is None else pages.token_of(listing, str(last)),
        )


class FlagHandlers(pb_grpc.AssetServiceServicer):
    """What is said against assets."""

    _flagger: Flagger

    async def DeprecateAsset(
        self, request: requests_pb.DeprecateAssetRequest, context: Context
    ) -> requests_pb.DeprecateAssetResponse:
        asset = await self._flagger.deprecate(caller(), request.asset_id, request.reason)
        return requests_pb.DeprecateAssetResponse(asset=asset_message(asset))

    async def InvalidateAsset(
        self, request: requests_pb.InvalidateAssetRequest, context: Context
    ) -> requests_pb.InvalidateAssetResponse:
        asset = await self._flagger.invalidate(caller(), request.asset_id, request.reason)
        return requests_pb.InvalidateAssetResponse(asset=asset_message(asset))

    async def ReinstateAsset(
        self, request: requests_pb.ReinstateAssetRequest, context: Context
    ) -> requests_pb.ReinstateAssetResponse:
        asset = await self._flagger.reinstate(
            caller(), request.asset_id, request.flag, request.reason
        )
        return requests_pb.ReinstateAssetResponse(asset=asset_message(asset))

    async def ListAssetFlags(
        self, request: requests_pb.ListAssetFlagsRequest, context: Context
    ) -> requests_pb.ListAssetFlagsResponse:
        size, listing = pages.size(request.page_size), f"flags/{request.asset_id}"
        below = pages.below(request.page_token, listing)
        found = await self._flagger.history(caller(), request.asset_id, below, size + 1)
        last = found[size - 1].number if len(found) > size else None
        return requests_pb.ListAssetFlagsResponse(
            entries=map(codec.flag_entry, found[:size]),
            next_page_token="" if last is None else pages.token_of(listing, str(last)),
        )
