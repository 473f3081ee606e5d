"""The port that Prometheus and probes ask, of processes that serve no page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from asgard_server.processes.listening import listen
from asgard_server.processes.metrics_server import Readiness, create_metrics_app
from asgard_server.processes.page_server import PageServer
from asgard_server.rpc import metrics
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families


@asynccontextmanager
async def asked(
    readiness: Callable[[], Awaitable[Readiness]], *registries: CollectorRegistry
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that runs until the block ends."""
    app = create_metrics_app(readiness, *([registries] if registries else []))
    server = PageServer(app, drain_seconds=1)
    listener = listen("127.0.0.1", 0, "--metrics-port")
    serving = asyncio.create_task(server.serve([listener]))
    await server.up.wait()
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False
        ) as client:
            yield client
    finally:
        server.stop()
        await serving


async def well() -> Readiness:
    return Readiness("", {"index": "SERVING"})


async def test_metrics_are_what_prometheus_reads() -> None:
    registry = CollectorRegistry()
    Counter("test_things", 'Things, "quoted".', ["kind"], registry=registry).labels('a"b\n').inc(3)
    async with asked(well, registry) as client:
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {each.name: each for each in text_string_to_metric_families(answer.text)}
        (sample,) = [s for s in families["test_things"].samples if s.name == "test_things_total"]
        assert (sample.labels, sample.value) == ({"kind": 'a"b\n'}, 3.0)


async def test_the_process_s_own_metrics_are_there_without_being_named() -> None:
    metrics.STREAMS.labels("Test").set(0)
    async with asked(well) as client:
        text = (await client.get("/metrics")).text
    names = {each.name for each in text_string_to_metric_families(text)}
    assert {"asgard_rpc_open_streams", "process_open_fds"} <= names


async def test_readiness_follows_the_service_and_life_does_not() -> None:
    problems = ["", "documents: the place is gone", ""]

    async def readiness() -> Readiness:
        return Readiness(problems.pop(0), {"documents": "SERVING"})

    async with asked(readiness) as client:
        answers = [await client.get("/readyz") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 503, 200]
        assert answers[0].json() == {"status": "ready", "services": {"documents": "SERVING"}}
        assert answers[1].json()["detail"] == "documents: the place is gone"
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.post("/healthz")).status_code == 405
        assert (await client.get("/nowhere")).status_code == 404


async def test_a_service_that_does_not_say_whether_it_is_ready_is_not() -> None:
    async def never() -> Readiness:
        await asyncio.sleep(60)
        return await well()

    async with asked(never) as client:
        answer = await client.get("/readyz", timeout=10)
    assert answer.status_code == 503
    assert "no answer" in answer.text


async def test_a_server_that_nobody_asks_anything_wakes_once_a_second_and_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken, inner = [], PageServer.on_tick

    async def on_tick(server: PageServer, counter: int) -> bool:
        woken.append(time.monotonic())
        return await inner(server, counter)

    monkeypatch.setattr(PageServer, "on_tick", on_tick)
    async with asked(well) as client:
        before = (await client.get("/healthz")).headers["date"]
        await asyncio.sleep(2.1)
        assert (await client.get("/healthz")).headers["date"] != before
        assert len(woken) <= 4
        ended = time.monotonic()
    assert woken[-1] - ended < 0.5
