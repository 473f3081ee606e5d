"""One HTTP request as handlers see it: path variables, query, headers, a bounded body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from asgard_server.auth.principal import Principal
from asgard_server.gateway.problems import Problem, invalid, too_large
from asgard_server.rpc.requests import Metadata, passed_on

# How long a request is worked on; the services behind are told how much of it is left.
CALL_SECONDS = 120.0
BODY_PIECE_SECONDS = 60.0
DISCARD_SECONDS = 5.0
DISCARD_SILENCE_SECONDS = 0.5
MAX_PARAMETERS = 1_000


class Request:
    """A request whose route is known.

    `variables` are those of the path, percent-decoded; `request_id` is in the log,
    in the answer's header and in every problem; `trace` is its W3C trace context; `shown` is
    what services are shown to find out who asks; `caller` is who does, None where nobody is
    asked. `authorization` is the header that says so, or what stands for it in a cookie
    (`by_cookie`); `cookies` are set by the answer.
    """

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.request_id = request_id
        self.trace: Metadata = ()
        self.shown: Metadata = ()
        self.caller: Principal | None = None
        self.authorization = ""
        self.by_cookie = False
        self.cookies: list[str] = []
        self.variables: Mapping[str, str] = {}
        self._until = time.monotonic() + CALL_SECONDS

    @property
    def seconds_left(self) -> float:
        """How long the calls that are made for it may still take, all of them together."""
        return max(0.0, self._until - time.monotonic())

    @property
    def metadata(self) -> Metadata:
        """What those calls carry: its id, its trace, and what says who asks."""
        return (*passed_on(self), *self.shown)

    @property
    def method(self) -> str:
        """The verb, upper case."""
        return str(self.scope["method"])

    def header(self, name: bytes) -> str:
        """First header of a lower-case name, empty when there is none."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value.decode("latin-1")).strip()
        return ""

    def parameters(self) -> list[tuple[str, str]]:
        """Query parameters in their order, blank ones too. Raises `Problem` 400."""
        raw: bytes = self.scope["query_string"]
        if not raw:
            return []
        try:
            pairs = parse_qsl(
                raw.decode(),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_PARAMETERS,
            )
        except UnicodeDecodeError as error:
            raise invalid("", "the query string is not UTF-8 when percent-decoded") from error
        except ValueError as error:
            raise invalid("", f"at most {MAX_PARAMETERS} query parameters are taken") from error
        return pairs

    def only(self, *known: str) -> dict[str, str]:
        """Query parameters by name, of those known. Raises `Problem` 400 for others, or doubles."""
        found: dict[str, str] = {}
        for name, value in self.parameters():
            if name not in known:
                listed = ", ".join(known) or "none"
                raise invalid(name, f"is an unknown query parameter; known are {listed}")
            if name in found:
                raise invalid(name, "is given more than once")
            if "\0" in value:
                raise invalid(name, "contains a NUL character")
            found[name] = value
        return found

    async def body(self, limit_bytes: int) -> bytes:
        """Read the whole body. Raises `Problem` 413 as soon as it passes the limit, 408, 400."""
        declared = self.header(b"content-length")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise too_large(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(BODY_PIECE_SECONDS):
                    message = await self.receive()
            except TimeoutError as error:
                raise Problem(
                    408,
                    f"no part of the body came for {BODY_PIECE_SECONDS:.0f} seconds",
                    "DEADLINE_EXCEEDED",
                    "BODY_TOO_SLOW",
                    headers={"connection": "close"},
                ) from error
            if message["type"] == "http.disconnect":
                raise Problem(400, "the body ended early", "INVALID_ARGUMENT", "MALFORMED_BODY")
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit_bytes:
                raise too_large(limit_bytes)
            if piece:
                pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def discard(self) -> None:
        """Read what a refused client still sends, for a moment.

        A connection closed upon unread bytes is reset, and the client never sees why.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while True:
                    async with asyncio.timeout(DISCARD_SILENCE_SECONDS):
                        message = await self.receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return

    async def json_body(self, limit_bytes: int) -> bytes:
        """Read a body that says it is JSON, or says nothing. Raises `Problem` 415 otherwise."""
        said = self.header(b"content-type").partition(";")[0].strip().lower()
        if said and said != "application/json":
            raise Problem(
                415,
                f"the body must be application/json, not {said[:80]}",
                "INVALID_ARGUMENT",
                "UNSUPPORTED_MEDIA_TYPE",
            )
        coding = self.header(b"content-encoding").lower()
        if coding not in ("", "identity"):
            raise Problem(
                415,
                f"the body must not be encoded, and is {coding[:80]}",
                "INVALID_ARGUMENT",
                "UNSUPPORTED_MEDIA_TYPE",
            )
        return await self.body(limit_bytes)
