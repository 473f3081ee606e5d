"""Who makes the call that is being served. Handlers ask once and pass it on as an argument."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from gimle.asgard.core.access_errors import UnauthenticatedError

from asgard_server.auth.lasting import lasts, until_another
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


def identified(
    behaviour: Callable[..., Any], authenticate: Authenticate, *, streams: bool = False
) -> Callable[..., Any]:
    """A method's behaviour that begins with finding out who calls; of the same form as it was.

    One that `streams` answers ends when its caller is not who they were any more.
    """
    if inspect.isasyncgenfunction(behaviour):

        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            who = authenticate(context)
            who = who if type(who) is Principal else await who  # type: ignore[misc]
            _caller.set(who)
            async with _held(authenticate, context, who):
                async for response in behaviour(request, context):
                    yield response

        return streamed

    async def called(request: Any, context: Any) -> Any:
        who = authenticate(context)
        _caller.set(who if type(who) is Principal else await who)  # type: ignore[misc]
        return await behaviour(request, context)

    async def written(request: Any, context: Any) -> Any:
        who = authenticate(context)
        who = who if type(who) is Principal else await who  # type: ignore[misc]
        _caller.set(who)
        async with _held(authenticate, context, who):
            return await behaviour(request, context)

    return written if streams else called


@asynccontextmanager
async def _held(authenticate: Authenticate, context: Any, who: Principal) -> AsyncIterator[None]:
    """Run a block for as long as its caller is who they were; it then raises why they are not.

    What is sent just then to a client that takes nothing ends as cancelled.
    """
    if lasts(who):
        yield
        return
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs is run by one
    lost: list[Exception] = []

    async def watch() -> None:
        try:
            lost.append(await until_another(lambda: authenticate(context), who))
        except Exception as error:  # noqa: BLE001 - who cannot be looked at any more is let go
            lost.append(error)
        task.cancel()

    watching = asyncio.create_task(watch(), name="caller")
    try:
        yield
    except asyncio.CancelledError:
        if not lost or task.uncancel() > 0:
            raise
        raise lost[0] from None
    finally:
        watching.cancel()
