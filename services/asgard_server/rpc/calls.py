"""Every call passes here: its errors become statuses, and it is logged and counted.

One interceptor for the four kinds of methods. A method's handler is wrapped once,
at its first call; after that a call costs one dictionary look-up more than without.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import structlog
from gimle.asgard.core.errors import (
    InvalidFieldError,
    RequestTooLargeError,
    UnknownMethodError,
)
from google.protobuf.message import DecodeError

from asgard_server.auth.callers import Authenticate, everybody_is_local, identified
from asgard_server.rpc import metrics, requests
from asgard_server.rpc.errors import INTERNAL, failure, rule_for
from asgard_server.rpc.tracing import Tracer, Wrapping

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# Of these the operator learns at once; the others are the caller's business.
_WARN = frozenset(
    {"STORAGE_UNAVAILABLE", "STORAGE_FULL", "STORAGE_READ_ONLY", "DOCUMENT_UNREADABLE"}
)

_OF_GRPC = "/grpc."
# A caller's clock runs since before the call came here: he leaves so much before our deadline.
_EARLIER_S = 0.05


class _Refused:
    """Stands for a request that cannot be taken; the call then ends with its error."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each method with the translation of errors, the log and the metrics.

    `authenticate` says who calls, which `auth.callers.caller()` then answers; those of gRPC itself
    (health, reflection) ask nobody.
    """

    def __init__(
        self,
        *,
        limit_bytes: int,
        tracer: Tracer | None = None,
        authenticate: Authenticate = everybody_is_local,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._tracer = tracer
        self._authenticate = authenticate
        self._wrapped: dict[str, Handler] = {}
        self._unknown: Handler = grpc.unary_unary_rpc_method_handler(self._unknown_method)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Answer the wrapped handler of a method, and one that refuses for an unknown one."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return self._unknown
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        call = _Call(method)
        once: Wrapping = call.unary
        many: Wrapping = call.stream
        if self._tracer is not None:
            once, many = self._tracer.around(method, once, many)
        behaviour: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        if not method.startswith(_OF_GRPC):
            behaviour = identified(
                behaviour, self._authenticate, streams=bool(handler.response_streaming)
            )
        take = _taking(handler.request_deserializer, self._limit_bytes)
        give = handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(once(behaviour), take, give)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(many(behaviour), take, give)
        if handler.stream_unary:
            behaviour = _with_readable_requests(behaviour)
            return grpc.stream_unary_rpc_method_handler(once(behaviour), take, give)
        return grpc.stream_stream_rpc_method_handler(
            many(behaviour), handler.request_deserializer, give
        )

    @staticmethod
    async def _unknown_method(request: bytes, context: Context) -> bytes:
        error = UnknownMethodError("there is no such method; reflection lists those there are")
        metrics.CALLS.labels("unknown", "UNIMPLEMENTED").inc()
        await context.abort_with_status(failure(error, "").status)
        return b""


class _Call:
    """One method: the wrappings of its behaviour."""

    def __init__(self, method: str) -> None:
        self._method = method.rpartition("/")[2]
        self._log = structlog.get_logger("asgard.rpc").bind(method=method)
        self._ok = metrics.CALLS.labels(self._method, "OK")
        self._seconds = metrics.CALL_SECONDS.labels(self._method)
        self._streams = metrics.STREAMS.labels(self._method)

    def unary(
        self, behaviour: Callable[[Any, Context], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            started = time.perf_counter()
            requests.bind(requests.Incoming(context))
            try:
                if type(request) is _Refused:
                    raise request.error
                if context.time_remaining() == 0:
                    raise TimeoutError("the deadline had passed before the work was begun")
                response = await behaviour(request, context)
            except grpc.aio.AbortError:
                self._ended(context, started)
                raise
            except asyncio.CancelledError:
                self._left(context, started)
                raise
            except Exception as error:  # noqa: BLE001 - the one place where all become statuses
                await self._failed(error, context, started)
            seconds = time.perf_counter() - started
            self._ok.inc()
            self._seconds.observe(seconds)
            self._log.debug("call", code="OK", seconds=seconds)
            return response

        return call

    def stream(self, behaviour: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
        if not inspect.isasyncgenfunction(behaviour):
            return self._written(behaviour)

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            started = time.perf_counter()
            requests.bind(requests.Incoming(context))
            self._streams.inc()
            try:
                if type(request) is _Refused:
                    raise request.error
                async for response in behaviour(request, context):
                    yield response
                self._ok.inc()
                self._log.debug("call", code="OK", seconds=time.perf_counter() - started)
            except grpc.aio.AbortError:
                self._ended(context, started)
                raise
            except asyncio.CancelledError:
                self._left(context, started)
                raise
            except Exception as error:  # noqa: BLE001 - the one place where all become statuses
                await self._failed(error, context, started)
            finally:
                self._streams.dec()

        return call

    def _written(
        self, behaviour: Callable[[Any, Context], Awaitable[None]]
    ) -> Callable[[Any, Context], Awaitable[None]]:
        """The other form of a stream: a coroutine that writes to its context."""

        async def call(request: Any, context: Context) -> None:
            started = time.perf_counter()
            requests.bind(requests.Incoming(context))
            self._streams.inc()
            try:
                await behaviour(request, context)
            except grpc.aio.AbortError:
                self._ended(context, started)
                raise
            except asyncio.CancelledError:
                self._left(context, started)
                raise
            except Exception as error:  # noqa: BLE001 - the one place where all become statuses
                await self._failed(error, context, started)
            finally:
                self._streams.dec()

        return call

    async def _failed(self, error: Exception, context: Context, started: float) -> None:
        request_id = requests.current_id()
        seconds = time.perf_counter() - started
        failed = failure(error, request_id)
        metrics.CALLS.labels(self._method, failed.code.name).inc()
        self._seconds.observe(seconds)
        said = {
            "code": failed.code.name,
            "reason": failed.reason,
            "seconds": seconds,
            "request_id": request_id,
        }
        if rule_for(error) is INTERNAL:
            self._log.error("call", **said, exc_info=error)
        elif failed.reason in _WARN:
            self._log.warning("call", **said, error=str(error))
        else:
            self._log.info("call", **said, error=str(error))
        await context.abort_with_status(failed.status)

    def _ended(self, context: Context, started: float) -> None:
        """Count a call whose own handler has aborted it (health does)."""
        code = context.code()
        name = code.name if isinstance(code, grpc.StatusCode) else str(code)
        metrics.CALLS.labels(self._method, name).inc()
        self._log.info("call", code=name, seconds=time.perf_counter() - started)

    def _left(self, context: Context, started: float) -> None:
        """Count a call that nobody waits for any more."""
        name = why_left(context.time_remaining())
        metrics.CALLS.labels(self._method, name).inc()
        self._log.debug("call", code=name, seconds=time.perf_counter() - started)


def why_left(remaining_s: float | None) -> str:
    """The code of a call that its caller has left so long before its deadline, if it has one."""
    late = remaining_s is not None and remaining_s <= _EARLIER_S
    return "DEADLINE_EXCEEDED" if late else "CANCELLED"


def _taking(deserialise: Callable[[bytes], Any] | None, limit: int) -> Callable[[bytes], Any]:
    """Read a request; what cannot be read becomes a refusal with its reason."""

    def take(body: bytes) -> Any:
        if len(body) > limit:
            return _Refused(RequestTooLargeError(limit))
        try:
            return deserialise(body) if deserialise else body
        except DecodeError:
            return _Refused(
                InvalidFieldError(
                    "request",
                    "is not a protobuf message of this method",
                    "send the message that run_service.proto names",
                )
            )

    return take


def _with_readable_requests(
    behaviour: Callable[[Any, Context], Awaitable[Any]],
) -> Callable[[Any, Context], Awaitable[Any]]:
    """The behaviour, for which a request that cannot be taken is the error of the stream."""

    async def readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if type(request) is _Refused:
                raise request.error
            yield request

    return lambda requests, context: behaviour(readable(requests), context)
