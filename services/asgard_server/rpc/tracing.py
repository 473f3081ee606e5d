"""Spans of requests and calls, by OpenTelemetry. Loaded where ASGARD_TRACING asks for it only.

Whether or not spans are made here, the trace context of a caller is passed on (rpc/requests.py).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from asgard_server.rpc import requests

if TYPE_CHECKING:  # of the extra `otel`
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

Context = grpc.aio.ServicerContext[Any, Any]

Behaviour = Callable[[Any, Context], Any]
Wrapping = Callable[[Behaviour], Behaviour]

# Codes of which the server, not its caller, is to blame.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class TracingMissingError(RuntimeError):
    """Spans are asked for, and the packages that make them are not installed."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"ASGARD_TRACING is otlp, and the package of {missing} is not installed;"
            " install asgard-server[otel], or set ASGARD_TRACING=none"
        )


def start_tracing(service: str, replica: str) -> Tracer:
    """Make spans from now on, and send them as OTEL_* variables say (OTLP by gRPC).

    Raises `TracingMissingError` without the extra `otel`.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingMissingError(error.name or "opentelemetry") from error
    names = {"service.instance.id": replica}
    said = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in said:
        names["service.name"] = f"asgard-{service}"
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)


class Tracer:
    """Makes spans of what this process serves."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("asgard")
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER
        self._error = StatusCode.ERROR

    def close(self) -> None:
        """Send what has not been sent, and stop. Blocks: for some seconds if nobody takes it."""
        self._provider.shutdown()

    @contextmanager
    def span(
        self, name: str, parent: requests.Metadata, attributes: Mapping[str, str]
    ) -> Iterator[Served]:
        """A span from here to the end of the block, within the trace of a caller's metadata."""
        context = self._propagator.extract(dict(parent))
        span = self._tracer.start_span(name, context, self._kind, dict(attributes))
        try:
            yield Served(self, span)
        finally:
            span.end()

    def around(self, method: str, once: Wrapping, many: Wrapping) -> tuple[Wrapping, Wrapping]:
        """The wrappings of a method that answers once, and of one that streams, each in a span."""
        return (
            lambda behaviour: self._once(method, once(behaviour)),
            lambda behaviour: self._many(method, many(behaviour)),
        )

    def _once(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def call(request: Any, context: Context) -> Any:
            with self._call(method, context):
                return await behaviour(request, context)

        return call

    def _many(self, method: str, behaviour: Behaviour) -> Behaviour:
        if not inspect.isasyncgenfunction(behaviour):  # one that writes to its context
            return self._once(method, behaviour)

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            with self._call(method, context):
                async for response in behaviour(request, context):
                    yield response

        return call

    @contextmanager
    def _call(self, method: str, context: Context) -> Iterator[None]:
        service, _, name = method.strip("/").partition("/")
        names = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        incoming = requests.trace_of(context.invocation_metadata() or ())
        with self.span(method.strip("/"), incoming, names) as served:
            code = grpc.StatusCode.CANCELLED
            try:
                yield
                code = grpc.StatusCode.OK
            except Exception:
                code = _code_of(context)
                raise
            finally:
                served.say("rpc.grpc.status_code", code.value[0])
                served.say("asgard.request_id", requests.current_id())
                if code in _FAULTS:
                    served.failed(code.name)


class Served:
    """A span of something served that is under way."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def trace(self) -> requests.Metadata:
        """What to pass on, so that the spans of other services lie within this one."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._tracer._propagator.inject(carrier, set_span_in_context(self._span))
        return tuple(carrier.items())

    def rename(self, name: str) -> None:
        """Call it otherwise: what it is may be known late."""
        self._span.update_name(name)

    def say(self, name: str, value: str | int) -> None:
        """Add an attribute."""
        self._span.set_attribute(name, value)

    def failed(self, problem: str) -> None:
        """Mark it as the server's own failure."""
        self._span.set_attribute("error.type", problem)
        self._span.set_status(self._tracer._error)


def _code_of(context: Context) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
