"""What crosses from the gateway to the services behind it: request id, trace context, deadline."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from concurrent import futures
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
from asgard_server.gateway import request as gateway_request
from asgard_server.gateway.app import GatewayOptions, create_app
from asgard_server.rpc.server import Health, Service, create_server
from asgard_server.rpc.tracing import Tracer, TracingMissingError, start_tracing
from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
RUN_SERVICE = "gimle.asgard.v1.RunService"


class Recording(pb_grpc.RunServiceServicer):
    """RunService that remembers with what it was called."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self.seconds: list[float | None] = []
        self.left = asyncio.Event()

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        self.seconds.append(context.time_remaining())
        if request.run_id == "slow":
            try:
                await asyncio.sleep(60)
            finally:
                self.left.set()
        if request.run_id == "missing":
            raise NotFoundError("run", request.run_id)
        if request.run_id == "broken":
            raise KeyError(request.run_id)
        return pb.GetRunResponse(run=pb.Run(run_id=request.run_id))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        return pb.ListRunsResponse()


@asynccontextmanager
async def gateway(
    tracer: Tracer | None = None,
) -> AsyncIterator[tuple[httpx.AsyncClient, Recording]]:
    """A client of a gateway, and the service behind it."""
    recording = Recording()  # type: ignore[abstract]  # the other RPCs are unimplemented
    add = pb_grpc.add_RunServiceServicer_to_server
    server = create_server(
        [Service(RUN_SERVICE, add, recording)], Health([RUN_SERVICE]), tracer=tracer
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        app = create_app(channel, GatewayOptions(tracer=tracer))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client, recording
    await server.stop(0)


@pytest.mark.parametrize("path", ["/v1/runs/a", "/api/runs"])
async def test_a_request_id_is_kept_answered_and_passed_on(path: str) -> None:
    async with gateway() as (client, service):
        answer = await client.get(path, headers={"x-request-id": "from.the-caller_1"})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == "from.the-caller_1"
    assert service.metadata[0]["x-request-id"] == "from.the-caller_1"


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 65, "ä", 'a"b'])
async def test_a_request_id_that_may_not_be_taken_is_made_anew(given: str | None) -> None:
    headers = [] if given is None else [(b"x-request-id", given.encode())]
    async with gateway() as (client, service):
        answer = await client.get("/v1/runs/a", headers=headers)
    made = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert service.metadata[0]["x-request-id"] == made


async def test_a_defect_of_the_service_is_told_with_the_id_of_the_request() -> None:
    async with gateway() as (client, _):
        answer = await client.get("/v1/runs/broken", headers={"x-request-id": "seven"})
    assert answer.status_code == 500
    assert answer.json()["metadata"] == {"requestId": "seven"}
    assert answer.json()["request_id"] == "seven"


async def test_the_trace_context_is_passed_on_as_it_is() -> None:
    trace = {"traceparent": TRACEPARENT, "tracestate": "vendor=1,other=2"}
    async with gateway() as (client, service):
        await client.get("/v1/runs/a", headers=trace)
        await client.get("/v1/runs/a", headers={**trace, "traceparent": "00-nonsense-01"})
        await client.get("/v1/runs/a")
    with_trace, nonsense, without = service.metadata
    assert trace.items() <= with_trace.items()
    assert not {"traceparent", "tracestate"} & (nonsense.keys() | without.keys())


async def test_the_service_is_told_how_long_the_request_may_take() -> None:
    async with gateway() as (client, service):
        await client.get("/v1/runs/a")
    assert service.seconds[0] is not None
    assert 100 < service.seconds[0] <= gateway_request.CALL_SECONDS


@pytest.mark.parametrize("path", ["/v1/runs/slow", "/api/run?id=slow"])
async def test_a_deadline_that_passes_is_a_504_and_ends_the_work(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_request, "CALL_SECONDS", 0.3)
    async with gateway() as (client, service):
        answer = await client.get(path)
        await asyncio.wait_for(service.left.wait(), 40)
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["reason"]) == ("DEADLINE_EXCEEDED",) * 2


def in_memory() -> tuple[Tracer, InMemorySpanExporter]:
    """A tracer, and where its spans come together."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracer(provider), exporter


def by_name(spans: tuple[ReadableSpan, ...]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


async def test_spans_of_a_request_and_of_its_call_lie_within_the_callers_trace() -> None:
    tracer, exporter = in_memory()
    async with gateway(tracer) as (client, _):
        headers = {"traceparent": TRACEPARENT, "x-request-id": "seven"}
        await client.get("/v1/runs/missing", headers=headers)
    spans = by_name(exporter.get_finished_spans())
    request, call = spans["GET /v1/runs/{run_id}"], spans[f"{RUN_SERVICE}/GetRun"]
    assert request.parent is not None
    assert call.parent is not None
    assert request.context is not None
    assert f"{request.parent.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert call.parent.span_id == request.context.span_id
    assert dict(request.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/runs/{run_id}",
        "http.response.status_code": 404,
        "url.path": "/v1/runs/missing",
        "asgard.request_id": "seven",
    }
    assert dict(call.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": RUN_SERVICE,
        "rpc.method": "GetRun",
        "rpc.grpc.status_code": grpc.StatusCode.NOT_FOUND.value[0],
        "asgard.request_id": "seven",
    }
    assert request.status.is_unset
    assert call.status.is_unset


async def test_a_failure_of_ours_marks_its_spans() -> None:
    tracer, exporter = in_memory()
    async with gateway(tracer) as (client, _):
        await client.get("/v1/runs/broken")
    spans = by_name(exporter.get_finished_spans())
    for name, kind in (("GET /v1/runs/{run_id}", "500"), (f"{RUN_SERVICE}/GetRun", "INTERNAL")):
        assert not spans[name].status.is_ok
        assert not spans[name].status.is_unset
        assert (spans[name].attributes or {})["error.type"] == kind


class Collector(otlp_grpc.TraceServiceServicer):
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A collector that really listens, named to the exporter as an operator would."""
    taken = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add: Callable[[Any, Any], None] = otlp_grpc.add_TraceServiceServicer_to_server
    add(taken, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "*")
    yield taken
    server.stop(0).wait()


async def test_spans_are_sent_by_otlp(collector: Collector) -> None:
    tracer = await asyncio.to_thread(start_tracing, "gateway", "gateway-1")
    async with gateway(tracer) as (client, _):
        await client.get("/v1/runs/a")
    await asyncio.to_thread(tracer.close)
    (resource,) = (spans for each in collector.requests for spans in each.resource_spans)
    said = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert said["service.name"] == "asgard-gateway"
    assert said["service.instance.id"] == "gateway-1"
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert names == {"GET /v1/runs/{run_id}", f"{RUN_SERVICE}/GetRun"}


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingMissingError, match=r"asgard-server\[otel\].*ASGARD_TRACING=none"):
        start_tracing("run", "r1")
