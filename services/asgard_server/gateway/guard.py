"""What stands before every handler: who may ask (Host, Origin), and what every answer carries."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgard_server.gateway.metrics import Metrics
from asgard_server.gateway.problems import Problem, internal
from asgard_server.gateway.request import Request
from asgard_server.rpc import requests
from asgard_server.rpc.tracing import Tracer

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://(.+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_TAKEN = {
    name.encode(): name for name in (requests.REQUEST_ID, requests.TRACEPARENT, requests.TRACESTATE)
}

# The page loads its own scripts, styles, pictures and data, and nothing else; nobody frames it.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

_OF_DATA = ("/api/", "/v1/", "/s/")

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_PAGE = [*_ALWAYS, (b"content-security-policy", PAGE_POLICY.encode())]
_DATA = [*_ALWAYS, (b"content-security-policy", _DATA_POLICY.encode())]

_log = structlog.get_logger("asgard.gateway")


class Guard:
    """ASGI middleware: identifies, checks and counts every request, and hides defects."""

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Iterable[str],
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._hosts = frozenset(h.lower() for h in (*LOOPBACK, *allowed_hosts))
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        request = _received(scope, receive)
        scope["asgard.request"] = request
        scope["asgard.route"] = "unknown"
        if self._tracer is None:
            await self._serve(request, send)
            return
        method = request.method
        said = {"http.request.method": method, "url.path": scope["path"]}
        with self._tracer.span(method, request.trace, said) as served:
            request.trace = served.trace()
            status = await self._serve(request, send)
            served.rename(f"{method} {scope['asgard.route']}")
            served.say("http.route", scope["asgard.route"])
            served.say("http.response.status_code", status)
            served.say("asgard.request_id", request.request_id)
            if status >= 500:
                served.failed(str(status))

    async def _serve(self, request: Request, send: Send) -> int:
        """Serve one request; answer the status it got."""
        scope, receive = request.scope, request.receive
        started = time.perf_counter()
        status = 0

        async def decorated(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *_policy(message["headers"], scope["path"]),
                    *_of_browser(request),
                    (b"x-request-id", request.request_id.encode()),
                ]
                self._metrics.answered(
                    scope["method"], scope["asgard.route"], status, time.perf_counter() - started
                )
            await send(message)

        try:
            try:
                self.check(request)
                await self._app(scope, receive, decorated)
            except Problem as problem:
                if status:
                    raise
                await _refuse(problem, request, decorated)
        except Exception:
            # The last line before the server: whatever it was is a defect of ours.
            _log.exception("request_failed", request_id=request.request_id, path=scope["path"])
            if status:
                raise
            await internal().response(request.request_id)(scope, receive, decorated)
        return status

    def check(self, request: Request) -> None:
        """Refuse foreign hosts, and foreign pages that would change something.

        Raises `Problem` 403, or 400 for a Host that cannot be read.
        """
        hosts = [v for k, v in request.scope["headers"] if k == b"host"]
        host = hosts[0].decode("latin-1").strip().lower() if len(hosts) == 1 else ""
        found = _HOST.fullmatch(host)
        if found is None:
            raise Problem(
                400, "the Host header is missing or malformed", "INVALID_ARGUMENT", "BAD_HOST"
            )
        if not {found[1], host, "*"} & self._hosts:
            raise Problem(
                403,
                f"this service is not called {found[1][:200]}; if it is, add that name to "
                "ASGARD_ALLOWED_HOSTS",
                "PERMISSION_DENIED",
                "HOST_NOT_ALLOWED",
            )
        if request.method in SAFE:
            return
        for key, value in request.scope["headers"]:
            if key == b"origin" and not _same(value.decode("latin-1").strip().lower(), host):
                raise Problem(
                    403,
                    "a page of another origin may not change anything here",
                    "PERMISSION_DENIED",
                    "ORIGIN_NOT_ALLOWED",
                )


def is_loopback(host: str) -> bool:
    """Say whether a Host header names this machine, with or without a port."""
    found = _HOST.fullmatch(host.strip().lower())
    return found is not None and found[1] in LOOPBACK


def _of_browser(request: Request) -> list[tuple[bytes, bytes]]:
    """What an answer carries for a browser that is signed in: its cookies, and who may keep it."""
    headers = [(b"set-cookie", each.encode("latin-1")) for each in request.cookies]
    if request.by_cookie:
        headers += [(b"cache-control", b"private"), (b"vary", b"cookie")]
    return headers


def _received(scope: Scope, receive: Receive) -> Request:
    """The request, bound to its task: its id is taken if it may be, else made."""
    given: dict[str, str] = {}
    for key, value in scope["headers"]:
        name = _TAKEN.get(key)
        if name is not None:
            given.setdefault(name, value.decode("latin-1").strip())
    request_id = given.pop(requests.REQUEST_ID, "")
    if not requests.well_formed(requests.REQUEST_ID, request_id):
        request_id = requests.new_id()
    request = Request(scope, receive, request_id)
    request.trace = requests.trace_of(given.items())
    requests.bind(request)
    return request


async def _refuse(problem: Problem, request: Request, send: Send) -> None:
    """Answer with a problem; where the connection closes, let the client read it first."""
    response = problem.response(request.request_id)
    if "connection" not in problem.headers:
        await response(request.scope, request.receive, send)
        return
    headers = response.raw_headers
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    await request.discard()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _same(origin: str, host: str) -> bool:
    """Say whether a page's origin is the address it asks (its scheme may be a proxy's)."""
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return False  # "null" too: a sandboxed frame or a file
    default = _DEFAULT_PORTS[found[1].lower()]
    return _with_port(found[2], default) == _with_port(host, default)


def _with_port(address: str, default: str) -> str:
    found = _HOST.fullmatch(address)
    return f"{found[1]}:{found[2] or default}" if found else ""


def _policy(headers: Iterable[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    for key, value in headers:
        if key == b"content-type":
            # What somebody has stored runs nothing, whatever it says it is: it would run as who
            # has signed in.
            of_page = value.startswith(b"text/html") and not path.startswith(_OF_DATA)
            return _PAGE if of_page else _DATA
    # A 304: its headers replace those of the stored answer, which keeps the policy it came with.
    return _ALWAYS
