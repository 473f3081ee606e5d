"""Who has signed in: kept by their browser, renewed in time, and shown to services as a token."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal

import structlog
from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.auth.code_flow import Granted, RelyingParty, SignInRefusedError
from asgard_server.gateway.request import Request
from asgard_server.gateway.sign_in import cookies
from asgard_server.gateway.sign_in.seal import Seal

# A token is renewed so long before its end, or in the last quarter of its life.
_RENEW_SECONDS = 60.0
# Requests that are on their way with the old cookie are answered by the same renewal; a provider
# that has refused one is not asked for so long.
_REMEMBERED_SECONDS = 30.0
_MOST_REMEMBERED = 10_000

_log = structlog.get_logger("asgard.auth")

By = Literal["oidc", "key"]


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that has signed in.

    `token` is what services are shown: an ID token, or an API key. `begun` and `renew_at` are
    seconds since 1970; 0: never. `name` is what the provider calls the person.
    """

    token: str
    by: By
    begun: int
    sub: str = ""
    name: str = ""
    refresh_token: str = ""
    renew_at: int = 0


class Sessions:
    """Reads and writes the cookie of a session. `party` None: there is no provider."""

    def __init__(
        self,
        keys: tuple[str, ...],
        party: RelyingParty | None,
        *,
        hours: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._seal = Seal(keys, "asgard session")
        self._party = party
        self._seconds = hours * 3_600
        self._clock = clock
        self._renewals: OrderedDict[bytes, tuple[float, asyncio.Task[Session | None]]] = (
            OrderedDict()
        )

    async def shown(self, request: Request) -> str:
        """The header by which services know whose cookie a request has; empty without one."""
        session = await self.of(request)
        return "" if session is None else f"Bearer {session.token}"

    async def of(self, request: Request) -> Session | None:
        """The session of a request, renewed where it is time: the answer then sets its cookie."""
        session = self.kept(request)
        if session is None or not session.refresh_token or self._clock() < session.renew_at:
            return session
        renewed = await self._renewed(session)
        if renewed is None:
            return session  # good for as long as its token is
        try:
            self.keep(request, renewed)
        except ValueError as error:  # it has outgrown a cookie: it ends with what there is
            _log.warning("session_not_kept", error=str(error))
        return renewed

    def kept(self, request: Request) -> Session | None:
        """The session of a request, as it stands in the cookie."""
        session = _session_of(self._seal.opened(cookies.read(request, cookies.SESSION)))
        if session is None or self._left(session) <= 0:
            return None
        return session

    def keep(self, request: Request, session: Session) -> None:
        """Have the answer set the cookie of a session. Raises `ValueError` for one too large."""
        sealed = self._seal.sealed(_value_of(session))
        if len(sealed) > cookies.MOST_CHARACTERS and session.refresh_token:
            _log.warning("session_without_refresh", characters=len(sealed))
            sealed = self._seal.sealed(_value_of(replace(session, refresh_token="")))
        cookies.put(request, cookies.SESSION, sealed, self._left(session))

    def forget(self, request: Request) -> None:
        """Have the answer remove the cookie."""
        cookies.drop(request, cookies.SESSION)

    def begin_with_key(self, request: Request, key: str) -> None:
        """Sign in who shows an API key."""
        self.keep(request, Session(key, "key", int(self._clock())))

    def begin(self, request: Request, granted: Granted) -> None:
        """Sign in whom the provider knows. Raises `ValueError` where its token is too large."""
        now = int(self._clock())
        self.keep(request, _granted(granted, now, now))

    def _left(self, session: Session) -> int:
        return session.begun + self._seconds - int(self._clock())

    async def _renewed(self, session: Session) -> Session | None:
        """The session with a newer token; None where the provider gives none. Asked once for all
        who come with the same cookie.
        """
        now = self._clock()
        known = sha256(session.refresh_token.encode()).digest()
        while self._renewals and next(iter(self._renewals.values()))[0] <= now:
            self._renewals.popitem(last=False)
        found = self._renewals.get(known)
        if found is None:
            task = asyncio.ensure_future(self._ask(session))
            found = self._renewals[known] = now + _REMEMBERED_SECONDS, task
            if len(self._renewals) > _MOST_REMEMBERED:
                self._renewals.popitem(last=False)
        # Everybody's: who stops waiting does not stop it for the others.
        return await asyncio.shield(found[1])

    async def _ask(self, session: Session) -> Session | None:
        if self._party is None:
            return None
        try:
            granted = await self._party.refresh(session.refresh_token, session.sub)
        except (SignInRefusedError, StorageUnavailableError) as error:
            _log.info("session_not_renewed", error=str(error))
            return None
        return _granted(granted, session.begun, int(self._clock()))


def _granted(granted: Granted, begun: int, now: int) -> Session:
    values = granted.claims.values
    ends = float(values["exp"])
    name = values.get("name") or values.get("preferred_username") or values.get("email")
    return Session(
        granted.token,
        "oidc",
        begun,
        granted.claims.sub,
        name[:200] if isinstance(name, str) else "",
        granted.refresh_token,
        int(max(ends - _RENEW_SECONDS, now + 0.75 * (ends - now))),
    )


def _value_of(session: Session) -> list[Any]:
    return [
        *(session.token, session.by, session.begun, session.sub),
        *(session.name, session.refresh_token, session.renew_at),
    ]


def _session_of(value: Any) -> Session | None:
    return Session(*value) if isinstance(value, list) and len(value) == 7 else None
