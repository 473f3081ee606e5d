"""Every operation of /openapi.json, asked with what it allows and with what it does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from asgard_server.gateway.openapi.document import document
from asgard_server.gateway.schema import asgard_schema
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.gateway.job_servers import Pod, a_job, ended, files
from tests.gateway.monitors import a_monitor, streams

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    allow_header_conformance,
]

# Streams have no end to wait for; they have tests of their own.
described = document(asgard_schema(), "test")
for endless in streams(described):
    del described["paths"][endless]
schema = schemathesis.openapi.from_dict(described)


@dataclass(frozen=True)
class Target:
    """A server, and things in it that exist."""

    url: str
    run_id: str
    result_id: str
    job_id: int


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Serve from a thread of its own: schemathesis waits for each answer."""
    storage = tmp_path_factory.mktemp("schemathesis") / "storage"
    started, stopping = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with a_monitor(storage, sim_data="local") as served:
            found.append(served.url)
            started.set()
            while not stopping.is_set():  # noqa: ASYNC110  # the event is another thread's
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    with httpx.Client(base_url=found[0]) as client:
        run = client.post("/v1/runs", json={"name": "there", "metadata": {"a": 1}}).json()
        body = {"result": {"result_type": "Solution1D", "data": {"x": [0, 1], "computed": [1, 2]}}}
        result = client.post(f"/v1/runs/{run['id']}/results", json=body).json()
    yield Target(found[0], run["id"], result["id"], asyncio.run(a_finished_job(found[0])))
    stopping.set()
    thread.join(20)


async def a_finished_job(url: str) -> int:
    """A job with files and a report."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        job_id = await a_job(client)
        pod = Pod(client)
        await pod.claim(job_id)
        await pod.done(files())
        assert (await ended(client, job_id))["status"] == "completed"
        return job_id


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_allows(case: Any, target: Target) -> None:
    # Half of the requests about a thing are about one that is there.
    parameters = case.path_parameters if case.path_parameters else {}
    for name in ("run_id", "result_id", "job_id"):
        if name in parameters and case.method != "DELETE" and len(str(parameters[name])) % 2:
            parameters[name] = getattr(target, name)
    answer = case.call(base_url=target.url)
    case.validate_response(answer, checks=CHECKS)
