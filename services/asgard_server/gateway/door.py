"""Who asks over HTTP: a key or a token in the header Authorization, or a browser's sealed cookie.

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
from asgard_server.gateway.guard import SAFE, is_loopback
from asgard_server.gateway.problems import Problem, of_error
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler
from asgard_server.rpc.requests import Metadata

_MOST_CHARACTERS = 20_000
# Of a page of another origin a browser would first ask whether it may be sent, which it may not.
OURS = b"x-asgard-request"


class OfClient(Protocol):
    """Says who shows this header. Raises `UnauthenticatedError`."""

    def __call__(self, authorization: str) -> Principal | Awaitable[Principal]:
        """Look it up."""


class OfCookie(Protocol):
    """Says which header the cookie of a request stands for; empty for none that is known."""

    def __call__(self, request: Request) -> Awaitable[str]:
        """Look it up."""


class Door:
    """Lets in who is identified.

    `of_client` None: nobody is asked who they are. `own` is what the gateway shows services when
    it asks for itself. `of_cookie` None: nobody signs in. `asks`: who shows nothing is refused.
    """

    def __init__(
        self,
        of_client: OfClient | None = None,
        own: Metadata = (),
        of_cookie: OfCookie | None = None,
        *,
        asks: bool = False,
    ) -> None:
        self.asks = asks
        self._of_client = of_client
        self._own = own
        self._of_cookie = of_cookie

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
        if not shown and self._of_cookie is not None:
            shown = await self._of_cookie(request)
            if shown:
                request.by_cookie = True
                refuse_foreign(request)
        return await self.admit_with(request, shown)

    async def admit_with(self, request: Request, shown: str) -> Principal | None:
        """Find out who shows a header Authorization. Raises as `admit` does."""
        request.authorization = shown
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
        found = self._of_client(request.authorization)
        return await found if inspect.isawaitable(found) else found


def refuse_foreign(request: Request) -> None:
    """Refuse a change that a page of others may have made a browser ask for. Raises `Problem` 403.

    A browser sends its cookies with whatever any page has it ask. Our own page's changes say where
    they come from, or carry a header that no form and no link can send; the guard has refused
    every Origin but this one.
    """
    if request.method in SAFE or request.header(OURS):
        return
    origin = request.header(b"origin").lower()
    if origin.startswith("https://") or (origin and is_loopback(request.header(b"host"))):
        return
    raise Problem(
        403,
        "a change by who has signed in needs the header Origin of this very page, or "
        f"{OURS.decode()}; programs show an API key in the header Authorization",
        "PERMISSION_DENIED",
        "ORIGIN_NOT_ALLOWED",
    )
