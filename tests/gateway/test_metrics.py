"""/metrics of a server that has worked: every promised number is there, and no id is in a label."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.monitors import Served, a_monitor

PROMISED = {
    "asgard_rpc_calls": ("counter", {"method", "code"}),
    "asgard_rpc_call_seconds": ("histogram", {"method"}),
    "asgard_rpc_open_streams": ("gauge", {"method"}),
    "asgard_watch_subscribers": ("gauge", {"log"}),
    "asgard_watch_lag_revisions": ("gauge", {"log"}),
    "asgard_watch_dropped_readers": ("counter", {"log"}),
    "asgard_store_seconds": ("histogram", {"store", "operation"}),
    "asgard_store_errors": ("counter", {"store", "operation"}),
    "asgard_bell_delay_seconds": ("histogram", set()),
    "asgard_bell_up": ("gauge", set()),
    "asgard_http_requests": ("counter", {"method", "route", "status"}),
    "asgard_http_request_seconds": ("histogram", {"route"}),
    "asgard_sse_clients": ("gauge", set()),
}


async def families(monitor: Served) -> dict[str, Metric]:
    """What Prometheus reads, by name."""
    text = (await monitor.client.get("/metrics")).text
    return {each.name: each for each in text_string_to_metric_families(text)}


async def test_every_promised_number_is_there_after_some_work(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage") as monitor:
        async with monitor.client.stream("GET", "/api/updates") as updates:
            lines = updates.aiter_lines()
            await anext(lines)
            run_id = await monitor.save(name="measured")
            result_id = await monitor.add(run_id)
            async for line in lines:
                if run_id in line:
                    break
            found = await families(monitor)
            assert found["asgard_sse_clients"].samples[0].value == 1
        for path in (f"/api/run?id={run_id}", f"/v1/runs/{run_id}", f"/v1/results/{result_id}"):
            assert (await monitor.client.get(path)).status_code == 200
        for path in (f"/nowhere/{run_id}", f"/v1/runs/{run_id}/nothing"):
            assert (await monitor.client.get(path)).status_code == 404
        assert (await monitor.client.post(f"/v1/results/{result_id}")).status_code == 405
        found = await families(monitor)
    for name, (kind, labels) in PROMISED.items():
        assert found[name].type == kind, name
        assert found[name].samples, name
        for sample in found[name].samples:
            assert set(sample.labels) - {"le"} == labels, sample
    text = str([family.samples for family in found.values()])
    assert run_id not in text
    assert result_id not in text
    routes = {s.labels["route"] for s in found["asgard_http_requests"].samples}
    assert {"/api/run", "/v1/runs/{run_id}", "/v1/runs/{run_id}/results"} <= routes
    operations = {
        (s.labels["store"], s.labels["operation"]) for s in found["asgard_store_seconds"].samples
    }
    assert {("documents", "create_run"), ("index", "observe"), ("index", "run")} <= operations
    (heard,) = [
        sample.value
        for sample in found["asgard_bell_delay_seconds"].samples
        if sample.name.endswith("_count")
    ]
    assert heard > 0
    assert found["asgard_bell_up"].samples[0].value == 1


async def test_a_method_nobody_needs_is_not_a_label_of_its_own(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage") as monitor:
        for method in ("PROPFIND", "LOCK"):
            await monitor.client.request(method, "/healthz")
        found = await families(monitor)
    methods = {s.labels["method"] for s in found["asgard_http_requests"].samples}
    assert methods == {"other"}
