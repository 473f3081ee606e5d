"""/auth: how a browser signs in, is told who it is, and signs out."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import structlog
from gimle.asgard.core.errors import StorageUnavailableError
from starlette.responses import Response
from starlette.types import ASGIApp

from asgard_server.auth.code_flow import Attempt, RelyingParty, SignInRefusedError
from asgard_server.auth.principal import Principal
from asgard_server.gateway.answers import JSON
from asgard_server.gateway.door import Door, refuse_foreign
from asgard_server.gateway.problems import Problem, invalid
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler
from asgard_server.gateway.sign_in import cookies
from asgard_server.gateway.sign_in.seal import Seal
from asgard_server.gateway.sign_in.sessions import Sessions

# How long somebody may take to sign in at the provider.
_ATTEMPT_SECONDS = 600
_MOST_PATH_CHARACTERS = 1_500
_MOST_BODY_BYTES = 4_096
_NO_STORE = {"cache-control": "no-store"}

_log = structlog.get_logger("asgard.auth")


@dataclass(frozen=True, slots=True)
class SignIn:
    """How browsers sign in: by a cookie sealed with `keys`, at the provider of `party` if any."""

    keys: tuple[str, ...]
    party: RelyingParty | None
    hours: int


class SignInEndpoints:
    """Handlers below /auth. `sessions` None: nobody can sign in here."""

    def __init__(
        self,
        door: Door,
        sign_in: SignIn | None,
        sessions: Sessions | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._door = door
        self._sessions = sessions
        self._party = None if sign_in is None else sign_in.party
        self._seal = Seal(() if sign_in is None else sign_in.keys, "asgard sign-in")
        self._clock = clock

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        """Yield verb, template and handler of each that this server has."""
        yield "GET", "/auth/session", self.session
        if self._sessions is not None:
            yield "POST", "/auth/key", self.key
            yield "POST", "/auth/logout", self.logout
        if self._party is not None:
            yield "GET", "/auth/login", self.login
            yield "GET", "/auth/callback", self.callback

    async def session(self, request: Request) -> ASGIApp:
        """Say who has signed in, and how it is done; a session that is over is ended here."""
        request.only()
        if not self._door.asks:
            return _json({"required": False, "ways": [], "who": None, "ended": None})
        try:
            who = await self._door.admit(request)
        except Problem as problem:
            if problem.status != 401:
                raise
            ended = None
            if request.by_cookie and self._sessions is not None:
                ended = problem.detail
                self._sessions.forget(request)
            return _json(self._said(request, None, ended))
        return _json(self._said(request, who))

    async def login(self, request: Request) -> ASGIApp:
        """Send the browser to the provider."""
        assert self._party is not None  # noqa: S101 - the route is there only with it
        back = same_site(request.only("return").get("return", "/"))
        attempt = Attempt(*(secrets.token_urlsafe(32) for _ in range(3)))
        try:
            where = await self._party.address(attempt, _redirect_uri(request))
        except StorageUnavailableError as error:
            _log.warning("sign_in_failed", why=str(error), request_id=request.request_id)
            return self._failed("unreachable", back)
        value = [*astuple(attempt), back, int(self._clock())]
        cookies.put(request, cookies.SIGN_IN, self._seal.sealed(value), _ATTEMPT_SECONDS)
        return _redirect(where)

    async def callback(self, request: Request) -> ASGIApp:
        """Take what the provider sends the browser back with."""
        assert self._party is not None  # noqa: S101 - the route is there only with it
        assert self._sessions is not None  # noqa: S101 - and that with this
        given = dict(request.parameters())
        found = self._attempt(cookies.read(request, cookies.SIGN_IN))
        cookies.drop(request, cookies.SIGN_IN)  # it is good for one answer
        if found is None:
            return self._failed("state", "/")
        attempt, back = found
        if not hmac.compare_digest(given.get("state", "").encode(), attempt.state.encode()):
            return self._failed("state", back)
        if given.get("iss", self._party.issuer) != self._party.issuer:
            return self._failed("provider", back)
        if "code" not in given:
            denied = given.get("error") == "access_denied"
            return self._failed("denied" if denied else "provider", back)
        try:
            granted = await self._party.exchange(given["code"], attempt, _redirect_uri(request))
            self._sessions.begin(request, granted)
        except (SignInRefusedError, ValueError) as error:
            _log.warning("sign_in_refused", why=str(error), request_id=request.request_id)
            return self._failed("provider", back)
        except StorageUnavailableError as error:
            _log.warning("sign_in_failed", why=str(error), request_id=request.request_id)
            return self._failed("unreachable", back)
        return _redirect(back)

    async def key(self, request: Request) -> ASGIApp:
        """Sign in who gives an API key."""
        assert self._sessions is not None  # noqa: S101 - the route is there only with it
        refuse_foreign(request)
        request.only()
        key = _key_in(await request.json_body(_MOST_BODY_BYTES))
        who = await self._door.admit_with(request, f"Bearer {key}")
        self._sessions.begin_with_key(request, key)
        return _json(self._said(request, who))

    async def logout(self, request: Request) -> ASGIApp:
        """End the session here, and say where it is ended at the provider."""
        assert self._sessions is not None  # noqa: S101 - the route is there only with it
        refuse_foreign(request)
        request.only()
        session = self._sessions.kept(request)
        self._sessions.forget(request)
        following = "/"
        if session is not None and session.by == "oidc" and self._party is not None:
            if session.refresh_token:
                await self._party.revoke(session.refresh_token)
            following = await self._party.end_address(f"{_origin(request)}/") or "/"
        return _json({"next": following})

    def _attempt(self, sealed: str) -> tuple[Attempt, str] | None:
        """The sign-in that a browser has begun, and where it comes back to."""
        value = self._seal.opened(sealed)
        if not isinstance(value, list) or len(value) != 5:
            return None
        *attempt, back, begun = value
        if not 0 <= self._clock() - begun <= _ATTEMPT_SECONDS:
            return None
        return Attempt(*attempt), back

    def _said(
        self, request: Request, who: Principal | None, ended: str | None = None
    ) -> dict[str, Any]:
        shown: dict[str, str] | None = None
        if who is not None:
            session = self._sessions.kept(request) if self._sessions and request.by_cookie else None
            name = session.name if session is not None else ""
            shown = {"id": who.sub, "handle": who.handle, "kind": who.kind}
            shown["name"] = name or who.handle or who.sub
        ways = ["oidc"] if self._party is not None else []
        ways += ["key"] if self._sessions is not None else []
        return {"required": True, "ways": ways, "who": shown, "ended": ended}

    def _failed(self, why: str, back: str) -> ASGIApp:
        """Show the page's sign-in view, with what went wrong in one word."""
        return _redirect(f"/sign-in?{urlencode({'problem': why, 'return': back})}")


def same_site(path: str) -> str:
    """A path of this site to come back to. Raises `Problem` 400 for what leads elsewhere.

    Browsers take `//host`, `/\\host`, and either with a tab or line break in it for an address.
    """
    plain = path.isascii() and path.isprintable() and " " not in path and "\\" not in path
    here = path.startswith("/") and not path.startswith(("//", "/auth/"))
    if not plain or not here or len(path) > _MOST_PATH_CHARACTERS:
        raise invalid("return", "must be a path of this site, such as /runs")
    return path


def _key_in(body: bytes) -> str:
    """The key of a body. Raises `Problem` 400."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "the body is not JSON", "INVALID_ARGUMENT", "MALFORMED_BODY") from error
    key = value.get("key") if isinstance(value, dict) else None
    if not isinstance(key, str) or not key.strip():
        raise invalid("key", "must be an API key, sk_...")
    key = key.strip()
    if not key.startswith("sk_") or not key.isascii() or not key.isprintable() or " " in key:
        raise invalid("key", "is no API key: those begin with sk_")
    return key


def _origin(request: Request) -> str:
    scheme = "https" if cookies.is_secure(request) else "http"
    return f"{scheme}://{request.header(b'host')}"


def _redirect_uri(request: Request) -> str:
    return f"{_origin(request)}/auth/callback"


def _redirect(where: str) -> Response:
    return Response(None, 303, {**_NO_STORE, "location": where})


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), 200, dict(_NO_STORE), JSON)
