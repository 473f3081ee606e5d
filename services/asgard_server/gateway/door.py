"""Who asks over HTTP: a key or a token in the header Authorization, and nowhere else.

A key in a URL would stand in logs, histories and links; none is read there. What the services
behind are asked for carries the same header, and they find out themselves who it is: nothing that
a client says of principals is passed on.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Protocol

from gimle.asgard.core.access_errors import UnauthenticatedError
from gimle.asgard.core.errors import AsgardError
from starlette.types import ASGIApp

from asgard_server.auth.lasting import lasts, until_another
from asgard_server.auth.principal import Principal
from asgard_server.gateway.event_stream import EventStream
from asgard_server.gateway.problems import of_error
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler
from asgard_server.rpc.requests import Metadata

_MOST_CHARACTERS = 20_000


class OfClient(Protocol):
    """Says who shows this header. Raises `UnauthenticatedError`."""

    def __call__(self, authorization: str) -> Principal | Awaitable[Principal]:
        """Look it up."""


class Door:
    """Lets in who is identified.

    `of_client` None: nobody is asked who they are. `own` is what the gateway shows services when
    it asks for itself.
    """

    def __init__(self, of_client: OfClient | None = None, own: Metadata = ()) -> None:
        self._of_client = of_client
        self._own = own

    def guarded(self, handler: Handler) -> Handler:
        """The handler, for callers who are identified. It raises `Problem` 401."""

        async def handle(request: Request) -> ASGIApp:
            who = await self.admit(request)
            if who is not None:
                request.caller = who
            answer = await handler(request)
            if who is not None and isinstance(answer, EventStream) and not lasts(who):
                answer.until = until_another(lambda: self._who(request), who)
            return answer

        return handle

    def opened(self, handler: Handler) -> Handler:
        """The handler of what is for everybody who has its link: the gateway asks for it itself."""

        async def handle(request: Request) -> ASGIApp:
            request.shown = self._own
            return await handler(request)

        return handle

    async def admit(self, request: Request) -> Principal | None:
        """Find out who asks, where that is asked. Raises `Problem` 401, 503 when nobody can say."""
        shown = request.header(b"authorization")
        if shown:
            request.shown = (("authorization", shown),)
        try:
            if len(shown) > _MOST_CHARACTERS or not (shown.isascii() and shown.isprintable()):
                raise UnauthenticatedError("the header Authorization is none of a key or a token")
            return None if self._of_client is None else await self._who(request)
        except AsgardError as error:
            raise of_error(error) from error

    async def _who(self, request: Request) -> Principal:
        assert self._of_client is not None  # noqa: S101 - asked only where it is there
        found = self._of_client(request.header(b"authorization"))
        return await found if inspect.isawaitable(found) else found
