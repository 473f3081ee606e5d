from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from asgard_server.gateway.encode import Encoders
from asgard_server.gateway.runs_list import Asked, RunsList
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from tests.gateway.monitors import Served, a_browser, a_monitor, streams

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def monitor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path_factory.mktemp("documented") / "storage") as served:
        yield served


async def test_runs_is_a_bare_array_of_all_runs_newest_first(monitor: Served) -> None:
    ids = [await monitor.save(name=f"r{n}", tags=["list"], equation="f = g") for n in range(3)]
    await monitor.add(ids[0])
    listed = (await monitor.client.get("/api/runs", params={"query": "list"})).json()
    assert [run["id"] for run in listed] == ids[::-1]
    assert list(listed[2]) == [
        "id", "name", "created_at", "equation", "circuit", "result_count", "tags",
    ]  # fmt: skip
    assert (listed[2]["result_count"], listed[2]["equation"]) == (1, "f = g")


async def test_the_whole_list_is_longer_than_a_page_of_the_service(tmp_path: Path) -> None:
    """2,100 documents written by hand, as the layout is documented."""
    runs = tmp_path / "storage" / "runs"
    runs.mkdir(parents=True)
    for n in range(2_100):
        document = {
            "id": f"r{n:05}",
            "name": f"run {n}",
            "created_at": f"2026-01-01T00:00:00.{n:05}Z",
        }
        (runs / f"r{n:05}.json").write_text(json.dumps(document))
    async with a_monitor(tmp_path / "storage") as served:
        listed: list[dict[str, str]] = []
        for _ in range(400):  # the index is made behind the server
            listed = (await served.client.get("/api/runs")).json()
            if len(listed) == 2_100:
                break
            await asyncio.sleep(0.05)
        assert [run["id"] for run in listed] == [f"r{n:05}" for n in range(2_099, -1, -1)]
        seen, address = [], "/api/runs?page_size=900"
        while address:
            answer = await served.client.get(address)
            seen.extend(answer.json())
            address = answer.links.get("next", {}).get("url", "")
        assert seen == listed


async def test_page_size_asks_for_pages_that_link_to_the_next_one(monitor: Served) -> None:
    ids = [await monitor.save(name="paged & found") for _ in range(5)]
    first = await monitor.client.get("/api/runs", params={"page_size": 2, "query": "paged & found"})
    assert [run["id"] for run in first.json()] == [ids[4], ids[3]]
    second = await monitor.client.get(first.links["next"]["url"])
    assert [run["id"] for run in second.json()] == [ids[2], ids[1]]
    last = await monitor.client.get(second.links["next"]["url"])
    assert [run["id"] for run in last.json()] == [ids[0]]
    assert "link" not in last.headers


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=-1", "page_size=x", "page_size=1.5", "page_token=x",
              "page_size=1&page_token=nonsense", "limit=3", "page_size=1&page_size=2"],
)  # fmt: skip
async def test_a_wrong_list_parameter_is_400_and_named(monitor: Served, query: str) -> None:
    answer = await monitor.client.get(f"/api/runs?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_list_is_kept_for_three_seconds_and_a_change_shows_at_once(
    monitor: Served,
) -> None:
    before = await monitor.client.get("/api/runs")
    same = await monitor.client.get("/api/runs", headers={"if-none-match": before.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == before.headers["etag"]
    for _ in range(10):
        made = await monitor.save(name="seen at once")
        listed = (await monitor.client.get("/api/runs")).json()
        assert listed[0]["id"] == made, "no list from before the save"
    await monitor.client.delete("/api/run", params={"id": made})
    listed = (await monitor.client.get("/api/runs")).json()
    assert made not in [run["id"] for run in listed]


async def test_a_change_by_another_program_shows_as_soon_as_its_event(monitor: Served) -> None:
    await monitor.client.get("/api/runs")
    async with a_browser(monitor.client) as browser:
        channel = grpc.aio.insecure_channel(monitor.grpc)
        run = (await pb_grpc.RunServiceStub(channel).CreateRun(pb.CreateRunRequest(name="x"))).run
        await channel.close()
        # What an earlier test did may still be told first.
        while (await browser.event())["object_id"] != run.run_id:
            pass
        listed = (await monitor.client.get("/api/runs")).json()
    assert listed[0]["id"] == run.run_id


async def test_one_computation_serves_all_who_ask_at_the_same_time(monitor: Served) -> None:
    async def calls() -> float:
        text = (await monitor.client.get("/metrics")).text
        name = "asgard_rpc_call_seconds_count{"
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(name) and "ListRuns" in line
        )

    await monitor.save(name="shared")
    before = await calls()
    answers = await asyncio.gather(*(monitor.client.get("/api/runs") for _ in range(50)))
    assert len({answer.content for answer in answers}) == 1
    assert 1 <= await calls() - before <= 2, "one, or two where the save's event came between"


async def test_a_run_comes_with_its_results_drawn(monitor: Served) -> None:
    run_id = await monitor.save(
        name="drawn", equation="int(f, x) = g", metadata={"n": 2**70 + 1}, note="*why*", tags=["t"]
    )
    result_id = await monitor.add(run_id, display={"title": "T"})
    answer = await monitor.client.get("/api/run", params={"id": run_id})
    run = json.loads(answer.text)
    assert (run["id"], run["name"], run["note"], run["tags"]) == (run_id, "drawn", "*why*", ["t"])
    assert run["metadata"] == {"n": {"$int": str(2**70 + 1)}}, "to the last digit"
    assert (run["result_count"], run["status"], run["live"]) == (1, None, True)
    (result,) = run["results"]
    assert list(result) == ["id", "result_type", "display", "created_at", "view"]
    assert (result["id"], result["display"]) == (result_id, {"title": "T"})
    assert result["view"]["kind"] == "line"
    assert result["view"]["series"][0]["y"] == [1, 2]


async def test_views_beyond_four_megabytes_come_by_their_address(monitor: Served) -> None:
    run_id = await monitor.save(name="large")
    text = "x" * 500
    tree = {str(i): {str(j): text for j in range(50)} for i in range(50)}
    for _ in range(5):
        await monitor.add(run_id, result_type="Log", data=tree)
    answer = await monitor.client.get("/api/run", params={"id": run_id})
    results = answer.json()["results"]
    here = [r for r in results if "view" in r]
    there = [r for r in results if "view_url" in r]
    assert (len(here), len(there)) == (3, 2), "1.3 MB each"
    assert len(answer.content) < 4_300_000
    view = await monitor.client.get(there[0]["view_url"])
    assert view.json()["result_id"] == there[0]["id"]


async def test_a_result_has_its_data_as_stored_and_its_view(monitor: Served) -> None:
    run_id = await monitor.save(name="detail")
    result_id = await monitor.add(run_id, data={"x": [1.50, 2], "computed": [0, 1e300]})
    answer = await monitor.client.get("/api/result", params={"id": result_id})
    result = answer.json()
    assert list(result) == [
        "id", "run_id", "result_type", "display", "created_at", "data", "view",
    ]  # fmt: skip
    assert result["run_id"] == run_id
    assert result["data"] == {"x": [1.50, 2], "computed": [0, 1e300]}
    large = await monitor.add(run_id, result_type="Text", data={"t": "y" * 1_100_000})
    answer = await monitor.client.get("/api/result", params={"id": large})
    assert answer.json()["data"] is None


async def test_deleting_a_run_says_so_once(monitor: Served) -> None:
    run_id = await monitor.save(name="gone")
    result_id = await monitor.add(run_id)
    answer = await monitor.client.delete("/api/run", params={"id": run_id})
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "Run deleted successfully"}
    for method, path in (
        ("DELETE", f"/api/run?id={run_id}"),
        ("GET", f"/api/run?id={run_id}"),
        ("GET", f"/api/result?id={result_id}"),
    ):
        assert (await monitor.client.request(method, path)).status_code == 404


@pytest.mark.parametrize("path", ["/api/run", "/api/result"])
@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?id=", 400), ("?id=..%2Fx", 400), ("?id=a&id=b", 400), ("?id=a%00", 400),
     ("?id=%FF", 400), (f"?id={'x' * 5000}", 400), ("?id=a&x=1", 400), ("?id=unknown", 404),
     ("?id=00000000-0000-7000-8000-000000000000", 404)],
)  # fmt: skip
async def test_a_missing_or_malformed_id_is_400_and_an_unknown_one_404(
    monitor: Served, path: str, query: str, status: int
) -> None:
    methods = ("GET", "DELETE") if path == "/api/run" else ("GET",)
    for method in methods:
        answer = await monitor.client.request(method, f"{path}{query}")
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/run", "/api/result"])
async def test_what_is_wrong_with_an_id_is_said_of_the_parameter(
    monitor: Served, path: str
) -> None:
    for query in ("?id=..%2Fx", "", f"?id={'x' * 200}"):
        problem = (await monitor.client.get(f"{path}{query}")).json()
        assert problem["detail"].startswith("id: ")
        assert problem["metadata"]["field"] == "id"
        assert [error["field"] for error in problem["errors"]] == ["id"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/runs", "GET, HEAD"),
        ("DELETE", "/api/runs", "GET, HEAD"),
        ("POST", "/api/run?id=a", "DELETE, GET, HEAD"),
        ("DELETE", "/api/result?id=a", "GET, HEAD"),
        ("PUT", "/api/updates", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("POST", "/runs/abc", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405(monitor: Served, method: str, path: str, allow: str) -> None:
    answer = await monitor.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_a_body_too_large_is_413(monitor: Served) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"name": "'
        for _ in range(70):
            yield b"x" * (1 << 20)

    answer = await monitor.client.post(
        "/v1/runs", content=endless(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["metadata"] == {"limitBytes": str(64 << 20)}


async def test_conflicts_are_409(monitor: Served) -> None:
    run_id = await monitor.save(name="first")
    other = await monitor.client.post("/v1/runs", json={"id": run_id, "name": "second"})
    assert (other.status_code, other.json()["reason"]) == (409, "ALREADY_EXISTS")
    stale = await monitor.client.patch(f"/v1/runs/{run_id}", json={"etag": "0", "name": "n"})
    assert (stale.status_code, stale.json()["reason"]) == (409, "ETAG_MISMATCH")
    await monitor.client.delete(f"/v1/runs/{run_id}")
    again = await monitor.client.post("/v1/runs", json={"id": run_id, "name": "first"})
    assert (again.status_code, again.json()["reason"]) == (409, "DELETED")


async def test_health_readiness_and_numbers_are_told(monitor: Served) -> None:
    metadata = json.loads((monitor.storage / ".asgard_metadata.json").read_text())
    health = (await monitor.client.get("/healthz")).json()
    assert health["status"] == "ok"
    assert health["storage_id"] == metadata["storage_id"]
    assert health["version"]
    services = dict.fromkeys(
        ("gimle.asgard.v1.RunService", "documents", "index", "bell"), "SERVING"
    )
    ready = (await monitor.client.get("/readyz")).json()
    assert ready == {"status": "ready", "services": services}
    text = (await monitor.client.get("/metrics")).text
    assert 'asgard_http_requests_total{method="GET",route="/healthz",status="200"}' in text
    assert "asgard_gateway_watch_connected 1.0" in text
    assert "process_resident_memory_bytes" in text


async def test_the_open_api_document_names_every_path_that_is_served(monitor: Served) -> None:
    document = (await monitor.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    endless = streams(document)
    assert {"/api/updates", "/v1/runs:watch", "/v1/jobs:watch", "/v1/assets:watch"} == endless
    for path, item in document["paths"].items():
        if path in endless:
            continue
        for method, operation in item.items():
            address = path.replace("{run_id}", "unknown").replace("{result_id}", "unknown")
            answer = await monitor.client.request(
                method, address, json={} if "post" in method or "patch" in method else None
            )
            assert answer.status_code not in (405, 501), (method, path)
            statuses = set(operation["responses"])
            assert str(answer.status_code) in statuses, (method, path, answer.status_code)


async def test_the_page_is_served_with_a_strict_policy(tmp_path: Path, monitor: Served) -> None:
    for path in ("/", "/runs", "/runs/some-id"):
        answer = await monitor.client.get(path)
        assert answer.headers["content-type"].startswith("text/html"), path
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-cache"


async def test_a_client_that_asks_for_gzip_gets_json_smaller_and_the_same(
    monitor: Served,
) -> None:
    for _ in range(20):
        await monitor.save(name="long " * 20)
    packed = await monitor.client.get("/api/runs", headers={"accept-encoding": "gzip"})
    plain = await monitor.client.get("/api/runs", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.content == plain.content
    assert "accept-encoding" in packed.headers["vary"]


async def test_head_says_what_get_would(monitor: Served) -> None:
    for path in ("/api/runs", "/healthz", "/openapi.json", "/"):
        head = await monitor.client.head(path)
        got = await monitor.client.get(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
    async with asyncio.timeout(5):
        assert (await monitor.client.head("/api/updates")).status_code == 200


async def test_an_unknown_host_is_refused_by_the_real_server(monitor: Served) -> None:
    answer = await monitor.client.get("/api/runs", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "HOST_NOT_ALLOWED")
    answer = await monitor.client.delete("/api/run?id=x", headers={"origin": "http://evil.example"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "ORIGIN_NOT_ALLOWED")


async def test_sequential_keep_alive_requests_do_not_wait_40_ms(monitor: Served) -> None:
    """The trap: an answer in two writes, Nagle's algorithm and a delayed acknowledgement."""
    loop = asyncio.get_running_loop()
    times = []
    async with httpx.AsyncClient(base_url=monitor.url) as client:
        for _ in range(40):
            begin = loop.time()
            assert (await client.get("/healthz")).status_code == 200
            times.append(loop.time() - begin)
    # The first acknowledgements come at once; then each request would wait, a busy machine or not.
    quick = sorted(times[20:])[5]
    print(f"a quarter within {quick * 1e3:.2f} ms on {type(loop).__module__}")
    assert quick < 0.020


async def test_while_changes_pour_in_lists_are_computed_one_after_another_and_never_old() -> None:
    """However many ask, and however fast the version moves, one computation runs."""
    version, running, most = 0, 0, 0

    async def list_runs(asked: pb.ListRunsRequest) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        seen = version  # what the service would answer from
        await asyncio.sleep(0.005)
        running -= 1
        return pb.ListRunsResponse(runs=[pb.Run(run_id=str(seen))]).SerializeToString()

    runs = RunsList(list_runs, Encoders(), lambda: version, cache_seconds=3.0)

    async def ask() -> None:
        for _ in range(10):
            known = version
            answer = await runs.get(Asked())
            assert int(json.loads(answer.body)[0]["id"]) >= known, "older than the question"

    async def change() -> None:
        nonlocal version
        for _ in range(200):
            version += 1
            await asyncio.sleep(0.001)

    await asyncio.gather(change(), *(ask() for _ in range(30)))
    assert most == 1
