# ruff: noqa: D102 - what each RPC does is said once, in identity_service.proto
"""IdentityService: each RPC is a straight line from request to what is done with it.

Errors are raised by what is called, and translated by the interceptor (rpc/calls.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc

from asgard_server.auth.callers import caller
from asgard_server.auth.codec import principal_message
from asgard_server.auth.verifying import LookUp
from asgard_server.identity import codec
from asgard_server.identity.domain import ApiKey, Asked
from asgard_server.identity.groups import Groups
from asgard_server.identity.keys import Keys
from asgard_server.identity.people import People
from asgard_server.rpc import pages

Context = grpc.aio.ServicerContext[Any, Any]


class IdentityHandlers(pb_grpc.IdentityServiceServicer):
    """The RPCs of IdentityService."""

    def __init__(
        self,
        people: People,
        groups: Groups,
        keys: Keys,
        look_up: LookUp,
        clock: Callable[[], datetime],
    ) -> None:
        self._people = people
        self._groups = groups
        self._keys = keys
        self._look_up = look_up
        self._clock = clock

    def _asked(self) -> Asked:
        return Asked(caller(), self._clock())

    # The caller -----------------------------------------------------------------------

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        return pb.GetMeResponse(principal=principal_message(caller()))

    async def ListScopes(
        self, request: pb.ListScopesRequest, context: Context
    ) -> pb.ListScopesResponse:
        by = caller()
        listing, size = f"scopes/{by.sub}", pages.size(request.page_size)
        skip = pages.number(request.page_token, listing)
        scopes = codec.scope_messages(by, await self._groups.scopes(by))[skip:]
        more = pages.token(listing, str(skip + size)) if len(scopes) > size else ""
        return pb.ListScopesResponse(scopes=scopes[:size], next_page_token=more)

    # Keys -----------------------------------------------------------------------------

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        made, key = await self._keys.create(self._asked(), codec.key_wish(request), request.user_id)
        return pb.CreateApiKeyResponse(api_key=codec.key_message(made), key=key)

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        by = caller()
        listing, size = f"keys/{by.sub}/{request.user_id}", pages.size(request.page_size)
        behind = pages.place(request.page_token, listing)
        found = await self._keys.page(by, request.user_id, behind, size + 1)
        more = _behind(listing, found[size - 1]) if len(found) > size else ""
        return pb.ListApiKeysResponse(
            api_keys=map(codec.key_message, found[:size]), next_page_token=more
        )

    async def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: Context
    ) -> pb.RevokeApiKeyResponse:
        ended = await self._keys.revoke(self._asked(), request.key_id)
        return pb.RevokeApiKeyResponse(api_key=codec.key_message(ended))

    # Users ----------------------------------------------------------------------------

    async def CreateUser(
        self, request: pb.CreateUserRequest, context: Context
    ) -> pb.CreateUserResponse:
        user = await self._people.create(
            self._asked(), request.user_id, request.handle, request.name, codec.email(request)
        )
        return pb.CreateUserResponse(user=codec.user_message(user))

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        user = await self._people.find(caller(), request.user_id)
        return pb.GetUserResponse(user=codec.user_message(user))

    async def ListUsers(
        self, request: pb.ListUsersRequest, context: Context
    ) -> pb.ListUsersResponse:
        by = caller()
        listing, size = f"users/{by.sub}", pages.size(request.page_size)
        behind = pages.behind(request.page_token, listing)
        found = await self._people.page(by, behind, size + 1)
        more = pages.token(listing, found[size - 1].handle) if len(found) > size else ""
        return pb.ListUsersResponse(
            users=map(codec.user_message, found[:size]), next_page_token=more
        )

    async def DeleteUser(
        self, request: pb.DeleteUserRequest, context: Context
    ) -> pb.DeleteUserResponse:
        await self._people.shut_out(self._asked(), request.user_id)
        return pb.DeleteUserResponse()

    # Organisations --------------------------------------------------------------------

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, context: Context
    ) -> pb.CreateOrganizationResponse:
        made = await self._groups.create(self._asked(), "organization", request.slug, request.name)
        return pb.CreateOrganizationResponse(organization=codec.organization_message(made))

    async def GetOrganization(
        self, request: pb.GetOrganizationRequest, context: Context
    ) -> pb.GetOrganizationResponse:
        group = await self._groups.find(caller(), request.organization_id, "organization")
        return pb.GetOrganizationResponse(organization=codec.organization_message(group))

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: Context
    ) -> pb.ListOrganizationsResponse:
        by = caller()
        listing, size = f"organizations/{by.sub}", pages.size(request.page_size)
        behind = pages.behind(request.page_token, listing)
        found = await self._groups.page(by, "organization", behind, size + 1)
        more = pages.token(listing, found[size - 1].slug) if len(found) > size else ""
        return pb.ListOrganizationsResponse(
            organizations=map(codec.organization_message, found[:size]), next_page_token=more
        )

    async def DeleteOrganization(
        self, request: pb.DeleteOrganizationRequest, context: Context
    ) -> pb.DeleteOrganizationResponse:
        await self._groups.delete(self._asked(), request.organization_id, "organization")
        return pb.DeleteOrganizationResponse()

    # Teams ----------------------------------------------------------------------------

    async def CreateTeam(
        self, request: pb.CreateTeamRequest, context: Context
    ) -> pb.CreateTeamResponse:
        made = await self._groups.create(
            self._asked(), "team", request.slug, request.name, request.organization_id
        )
        return pb.CreateTeamResponse(team=codec.team_message(made))

    async def GetTeam(self, request: pb.GetTeamRequest, context: Context) -> pb.GetTeamResponse:
        group = await self._groups.find(caller(), request.team_id, "team")
        return pb.GetTeamResponse(team=codec.team_message(group))

    async def ListTeams(
        self, request: pb.ListTeamsRequest, context: Context
    ) -> pb.ListTeamsResponse:
        by = caller()
        listing = f"teams/{by.sub}/{request.organization_id}"
        size = pages.size(request.page_size)
        behind = pages.behind(request.page_token, listing)
        found = await self._groups.page(by, "team", behind, size + 1, request.organization_id)
        more = pages.token(listing, found[size - 1].slug) if len(found) > size else ""
        return pb.ListTeamsResponse(
            teams=map(codec.team_message, found[:size]), next_page_token=more
        )

    async def DeleteTeam(
        self, request: pb.DeleteTeamRequest, context: Context
    ) -> pb.DeleteTeamResponse:
        await self._groups.delete(self._asked(), request.team_id, "team")
        return pb.DeleteTeamResponse()

    # Members --------------------------------------------------------------------------

    async def ListMembers(
        self, request: pb.ListMembersRequest, context: Context
    ) -> pb.ListMembersResponse:
        listing, size = f"members/{request.scope_id}", pages.size(request.page_size)
        behind = pages.behind(request.page_token, listing)
        found = await self._groups.members(caller(), request.scope_id, behind, size + 1)
        more = pages.token(listing, found[size - 1].membership.sub) if len(found) > size else ""
        return pb.ListMembersResponse(
            members=map(codec.member_message, found[:size]), next_page_token=more
        )

    async def SetMember(
        self, request: pb.SetMemberRequest, context: Context
    ) -> pb.SetMemberResponse:
        named = await self._groups.set_member(
            self._asked(), request.scope_id, request.user_id, codec.role(request)
        )
        return pb.SetMemberResponse(member=codec.member_message(named))

    async def RemoveMember(
        self, request: pb.RemoveMemberRequest, context: Context
    ) -> pb.RemoveMemberResponse:
        removed = await self._groups.remove_member(self._asked(), request.scope_id, request.user_id)
        return pb.RemoveMemberResponse(removed=removed)

    # Names and tokens -----------------------------------------------------------------

    async def ResolvePrincipal(
        self, request: pb.ResolvePrincipalRequest, context: Context
    ) -> pb.ResolvePrincipalResponse:
        caller()
        return codec.resolved(await self._people.resolve(request.handle))

    async def VerifyToken(
        self, request: pb.VerifyTokenRequest, context: Context
    ) -> pb.VerifyTokenResponse:
        if not caller().sees_everything:
            raise ForbiddenError("only a service may ask whose a token is")
        # Looked up anew: those who ask remember it, and twice would be too long.
        verified = await self._look_up(request.token)
        if verified.principal is None:
            return pb.VerifyTokenResponse()
        return pb.VerifyTokenResponse(
            principal=principal_message(verified.principal, verified.expires_at)
        )


def _behind(listing: str, last: ApiKey) -> str:
    return pages.place_token(listing, last.created_at, last.id)
