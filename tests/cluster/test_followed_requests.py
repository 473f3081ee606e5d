"""One request through two processes: found in both logs by its id, and seen as one trace."""

from __future__ import annotations

from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.processes import Cluster, a_cluster, eventually
from tests.rpc.authorities import Authority, files_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MISSING = "018f0000-0000-7000-8000-000000000000"


class Collector(otlp_grpc.TraceServiceServicer):
    """Takes spans as a collector does: (service, span) in the order of their arrival."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []

    def Export(self, request: Any, context: Any) -> Any:
        for sent in request.resource_spans:
            named = {each.key: each.value.string_value for each in sent.resource.attributes}
            spans = [span for scope in sent.scope_spans for span in scope.spans]
            self.spans += [(named["service.name"], span) for span in spans]
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A collector that really listens, and is named to the processes as operators do."""
    taken, server = Collector(), grpc.server(futures.ThreadPoolExecutor(2))
    add: Any = otlp_grpc.add_TraceServiceServicer_to_server
    add(taken, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.delenv("GRPC_VERBOSITY")
    yield taken
    server.stop(0).wait()


async def metrics_of(cluster: Cluster) -> list[set[str]]:
    """The names of the metrics of each process."""
    async with cluster.client() as client:
        return [
            {
                family.name
                for family in text_string_to_metric_families(
                    (await client.get(f"{process.metrics}/metrics")).text
                )
            }
            for process in cluster.processes
        ]


async def test_a_request_is_found_in_both_logs_and_is_one_trace(
    tmp_path: Path, collector: Collector
) -> None:
    ours = Authority("ours")
    files = files_of(tmp_path, ours.pair("asgard"), ours)
    settings: dict[str, Any] = {
        "tracing": "otlp",
        "tls_cert_file": files.certificate,
        "tls_key_file": files.key,
        "tls_ca_file": files.authority,
        "log_level": "debug",
    }
    async with a_cluster(tmp_path, **settings) as cluster, cluster.client() as client:
        headers = {"x-request-id": "seven", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        answer = await client.get(f"/v1/runs/{MISSING}", headers=headers)
        assert answer.status_code == 404
        assert answer.headers["x-request-id"] == "seven"

        async def traced() -> dict[str, Any]:
            found = {s: span for s, span in collector.spans if span.trace_id.hex() == TRACE}
            return found if len(found) == 2 else {}

        spans = await eventually(traced, what="a span of each service")
        run, gateway = spans["asgard-run"], spans["asgard-gateway"]
        assert run.parent_span_id == gateway.span_id
        assert gateway.parent_span_id.hex() == "00f067aa0ba902b7"
        assert (gateway.name, run.name.rpartition("/")[2]) == ("GET /v1/runs/{run_id}", "GetRun")

        run_metrics, gateway_metrics = await metrics_of(cluster)
        assert {"asgard_rpc_calls", "asgard_store_seconds", "asgard_bell_up"} <= run_metrics
        assert {"asgard_http_requests", "asgard_sse_clients"} <= gateway_metrics

        # Rotated under both: the next connections, the watch's among them, use the new ones.
        files_of(tmp_path, ours.pair("asgard-2"))
        await cluster.replicas[0].restart()
        await eventually(cluster.gateway.serves)
        assert (await client.get("/v1/runs")).status_code == 200
    for process in cluster.processes:
        said = process.logged()
        assert {line["service"] for line in said} == {process.name}
        assert all(line["replica"] for line in said)
    (call,) = [line for line in cluster.replicas[0].logged() if line.get("request_id") == "seven"]
    assert (call["reason"], call["trace_id"]) == ("RUN_NOT_FOUND", TRACE)
