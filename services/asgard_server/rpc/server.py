"""The gRPC server: services, health, reflection, one interceptor and its limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from asgard_server.auth.callers import Authenticate, everybody_is_local
from asgard_server.rpc.calls import CallInterceptor
from asgard_server.rpc.tracing import Tracer

# A request larger than this is refused with REQUEST_TOO_LARGE.
LIMIT_BYTES = 64 * 1024 * 1024

# Past this gRPC itself drops the message before it is in memory (without an ErrorInfo).
_HARD_LIMIT_BYTES = 4 * LIMIT_BYTES

OPTIONS: tuple[tuple[str, int], ...] = (
    # Two servers sharing a port would each see half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _HARD_LIMIT_BYTES),
    ("grpc.max_send_message_length", -1),
    # A watcher may be silent for long: find out when it is gone, and let it ask us.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Every five minutes a client's next call goes by a new connection, for which its addresses
    # are asked again: so replicas that came later get their share. No grace is set, and so no
    # call is cut off: a stream stays on its old connection for as long as it goes on.
    ("grpc.max_connection_age_ms", 300_000),
)


class Service(NamedTuple):
    """A service to be served: its full name, the generated `add_..._to_server`, and itself."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: Any


class Health:
    """What the standard health service answers, for the server and each of its services."""

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = HealthServicer()
        self._names = ("", *services)

    async def set(self, serving: bool) -> None:
        """Say whether the services can do their work now."""
        said = health_pb2.HealthCheckResponse
        status = said.SERVING if serving else said.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)

    async def stop(self) -> None:
        """Say NOT_SERVING from now on, whatever `set` is told."""
        await self.servicer.enter_graceful_shutdown()


class _Recorder:
    """Takes what generated code adds to a server, so that it can be added differently."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Ignored: the same handlers come by name."""

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Keep the handlers by the names of their methods."""
        self.handlers.update(handlers)


def create_server(
    services: Sequence[Service],
    health: Health,
    *,
    limit_bytes: int = LIMIT_BYTES,
    tracer: Tracer | None = None,
    authenticate: Authenticate = everybody_is_local,
) -> grpc.aio.Server:
    """A server of `services` that listens nowhere yet; with a `tracer`, each call is a span.

    `authenticate` says who calls: unless it is given, everybody is the local user.

    Methods that stream answers must yield serialised messages: they are written
    once for all watchers, not once for each.
    """
    server = grpc.aio.server(
        interceptors=[
            CallInterceptor(limit_bytes=limit_bytes, tracer=tracer, authenticate=authenticate)
        ],
        options=OPTIONS,
    )
    for service in services:
        recorder = _Recorder()
        service.add(service.servicer, recorder)
        handlers = {
            name: _as_bytes(handler) if handler.response_streaming else handler
            for name, handler in recorder.handlers.items()
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service.name, handlers),)
        )
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    _add_reflection([service.name for service in services], server)
    return server


def _as_bytes(handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour: Any = handler.unary_stream
    return grpc.unary_stream_rpc_method_handler(
        behaviour, request_deserializer=handler.request_deserializer
    )


def _add_reflection(names: Sequence[str], server: grpc.aio.Server) -> None:
    from grpc_health.v1.health import SERVICE_NAME as HEALTH
    from grpc_reflection.v1alpha import reflection

    reflection.enable_server_reflection((*names, HEALTH, reflection.SERVICE_NAME), server)
