"""Which request a line of the log belongs to, and the trace that the request is part of.

A request id (`x-request-id`) is taken from the caller or made by the first service, and passed
on with the W3C trace context to the next one. Binding costs a call one assignment: the id is
looked for when something is logged, or passed on.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol

REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_WELL_FORMED = {
    REQUEST_ID: re.compile(r"[A-Za-z0-9._-]{1,64}"),
    TRACEPARENT: re.compile(r"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    TRACESTATE: re.compile(r"[ -~]{1,512}"),
}

Metadata = tuple[tuple[str, str], ...]


class Identified(Protocol):
    """What knows its request's id."""

    @property
    def request_id(self) -> str:
        """The id of the request."""

    @property
    def trace(self) -> Metadata:
        """Its trace context, as far as there is one."""


_current: ContextVar[Identified | None] = ContextVar("asgard_request", default=None)


def bind(request: Identified) -> None:
    """Say that this task, and those it begins, work for `request`."""
    _current.set(request)


def current_id() -> str:
    """The id of the request this task works for; empty where there is none."""
    request = _current.get()
    return "" if request is None else request.request_id


def outgoing() -> Metadata:
    """What this task's request passes on to the services it calls."""
    request = _current.get()
    return () if request is None else passed_on(request)


def passed_on(request: Identified) -> Metadata:
    """What a request passes on: its id, and its trace."""
    return ((REQUEST_ID, request.request_id), *request.trace)


def new_id() -> str:
    """Make a request id."""
    return secrets.token_hex(8)


def well_formed(name: str, value: object) -> bool:
    """Whether a value of one of the three headers may be taken and passed on."""
    return isinstance(value, str) and _WELL_FORMED[name].fullmatch(value) is not None


def given(metadata: Iterable[tuple[str, Any]], name: str) -> str:
    """The first well-formed value of `name`, empty where there is none."""
    for key, value in metadata:
        if key == name and well_formed(name, value):
            return str(value)
    return ""


def trace_of(metadata: Iterable[tuple[str, Any]]) -> Metadata:
    """The trace context of a caller; empty unless its traceparent is well-formed."""
    parent, state = "", ""
    for key, value in metadata:
        if key == TRACEPARENT and not parent and well_formed(key, value):
            parent = value
        elif key == TRACESTATE and not state and well_formed(key, value):
            state = value
    if not parent:
        return ()
    return ((TRACEPARENT, parent), (TRACESTATE, state)) if state else ((TRACEPARENT, parent),)


class Incoming:
    """An RPC as it came in: its id is read, or made, when somebody asks for it."""

    __slots__ = ("_context", "_request_id")

    def __init__(self, context: Any) -> None:
        self._context = context
        self._request_id = ""

    @property
    def request_id(self) -> str:
        """The id the caller gave, else one that is made now."""
        if not self._request_id:
            metadata = self._context.invocation_metadata() or ()
            self._request_id = given(metadata, REQUEST_ID) or new_id()
        return self._request_id

    @property
    def trace(self) -> Metadata:
        """The trace context the caller gave."""
        return trace_of(self._context.invocation_metadata() or ())


def add_request_id(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put the request's id and trace into a line of the log: a processor of structlog."""
    request = _current.get()
    if request is not None:
        event.setdefault("request_id", request.request_id)
        if trace := request.trace:
            event.setdefault("trace_id", trace[0][1].split("-")[1])
    return event
