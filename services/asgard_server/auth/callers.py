"""Who makes the call that is being served. Handlers ask once and pass it on as an argument."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from gimle.asgard.core.access_errors import UnauthenticatedError

from asgard_server.auth.principal import LOCAL, Principal

Authenticate: TypeAlias = Callable[[Any], Principal | Awaitable[Principal]]
"""Tells from the context of a call (`grpc.aio.ServicerContext`) who makes it. At once where that
takes no asking, else by what is to be awaited. Raises `UnauthenticatedError`."""

_caller: ContextVar[Principal | None] = ContextVar("asgard_caller", default=None)


def caller() -> Principal:
    """Who makes this call. Raises `UnauthenticatedError` outside of a call."""
    principal = _caller.get()
    if principal is None:
        raise UnauthenticatedError
    return principal


def bind(principal: Principal) -> None:
    """Say that this task, and those it begins, work for `principal`."""
    _caller.set(principal)


def everybody_is_local(context: Any) -> Principal:
    """The `Authenticate` of a server that asks nobody who they are."""
    return LOCAL


def identified(behaviour: Callable[..., Any], authenticate: Authenticate) -> Callable[..., Any]:
    """A method's behaviour that begins with finding out who calls; of the same form as it was."""
    if inspect.isasyncgenfunction(behaviour):

        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            who = authenticate(context)
            _caller.set(who if type(who) is Principal else await who)  # type: ignore[misc]
            async for response in behaviour(request, context):
                yield response

        return streamed

    async def called(request: Any, context: Any) -> Any:
        who = authenticate(context)
        _caller.set(who if type(who) is Principal else await who)  # type: ignore[misc]
        return await behaviour(request, context)

    return called
