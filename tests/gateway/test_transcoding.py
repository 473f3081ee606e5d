from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
import pytest_asyncio
from asgard_server.gateway.templates import compile_template

from tests.gateway.toys import toy_gateway

# One server for the module: it holds nothing that a test could leave behind.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def toys() -> AsyncIterator[httpx.AsyncClient]:
    async with toy_gateway() as address, httpx.AsyncClient(base_url=address) as client:
        yield client


def problem(answer: httpx.Response) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == "about:blank"
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["code"], body["reason"]


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/v1/runs", "/v1/runs", {}),
        ("/v1/runs", "/v1/runs/", None),
        ("/v1/runs/{run_id}", "/v1/runs/a", {"run_id": "a"}),
        ("/v1/runs/{run_id}", "/v1/runs/a/b", None),
        ("/v1/runs/{run_id}", "/v1/runs/", None),
        ("/v1/runs/{run_id}", "/v1/runs/a%2Fb%20c", {"run_id": "a/b c"}),
        ("/v1/runs:save", "/v1/runs:save", {}),
        ("/v1/runs:save", "/v1/runs", None),
        ("/v1/runs/{run_id}:finish", "/v1/runs/a:finish", {"run_id": "a"}),
        ("/v1/runs/{run_id}:finish", "/v1/runs/a:b:finish", {"run_id": "a:b"}),
        ("/v1/{name=shelves/*/books/*}", "/v1/shelves/1/books/2", {"name": "shelves/1/books/2"}),
        ("/v1/{name=shelves/*}", "/v1/shelves/1/2", None),
        ("/v1/{path=**}", "/v1/a/b%2Fc", {"path": "a/b%2Fc"}),
        ("/v1/*/x", "/v1/anything/x", {}),
        ("/v1/a.b", "/v1/aXb", None),
    ],
)
async def test_a_template_matches_what_google_api_http_says(
    template: str, path: str, found: dict[str, str] | None
) -> None:
    assert compile_template(template).match(path) == found


@pytest.mark.parametrize("wrong", ["v1", "/v1/{a", "/v1/}a", "/v1/{a=}", "/v1/{}"])
async def test_a_template_that_breaks_the_grammar_stops_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="path template"):
        compile_template(wrong)


async def test_path_variables_reach_the_message_decoded(toys: httpx.AsyncClient) -> None:
    answer = await toys.get("/v1/toys/caf%C3%A9%2F1%3Aw")
    assert answer.json()["id"] == "café/1:w"


async def test_a_nested_variable_and_query_parameter_fill_one_message(
    toys: httpx.AsyncClient,
) -> None:
    answer = await toys.get("/v1/boxes/b7/toys/t1", params={"box.shelf": "3"})
    toy = answer.json()["toy"]  # an additional binding has a response_body of its own, or none
    assert (toy["id"], toy["label"]) == ("t1", "b7/3")


async def test_a_repeated_field_alone_is_a_list(toys: httpx.AsyncClient) -> None:
    answer = await toys.get("/v1/toy-list", params=[("tags", "a"), ("tags", "b")])
    assert [toy["label"] for toy in answer.json()] == ["a", "b"]
    assert (await toys.get("/v1/toy-list")).json() == []


async def test_a_path_of_many_segments_is_one_variable(toys: httpx.AsyncClient) -> None:
    assert (await toys.get("/v1/shelf/a/b/c")).json() == {"path": "a/b/c"}


async def test_query_parameters_of_every_kind_are_understood(toys: httpx.AsyncClient) -> None:
    answer = await toys.get(
        "/v1/toys",
        params=[
            ("kind", "doll"), ("kinds", "tin_car"), ("kinds", "doll"),
            ("big", "-9223372036854775808"), ("count", "4294967295"), ("weight", "0"),
            ("sizes", "1e3"), ("sizes", "-Infinity"), ("wound", "true"),
            ("since", "2026-11-21T08:30:00.25Z"), ("mask", "a,b.c"), ("within", "1.5s"),
            ("tags", "x y"), ("tags", ""), ("label", ""), ("box.box_id", "b"),
        ],
    )  # fmt: skip
    assert answer.json()["understood"] == (
        "kind: KIND_DOLL kinds: KIND_TIN_CAR kinds: KIND_DOLL big: -9223372036854775808 "
        "count: 4294967295 weight: 0.0 sizes: 1000.0 sizes: -inf wound: true "
        "since { seconds: 1795249800 nanos: 250000000 } "
        'mask { paths: "a" paths: "b.c" } within { seconds: 1 nanos: 500000000 } '
        'tags: "x y" tags: "" label: "" box { box_id: "b" }'
    )


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("colour=red", "colour", "unknown query parameter; known are kind, kinds"),
        ("big=1&big=2", "big", "more than once"),
        ("big=1.0", "big", "must be an integer"),
        ("big=+1", "big", "must be an integer"),
        ("big=%D9%A1", "big", "must be an integer"),
        ("big=", "big", "must be an integer"),
        ("count=4294967296", "count", "must lie between"),
        ("weight=nan", "weight", "must be a number"),
        ("weight=1_0", "weight", "must be a number"),
        ("wound=1", "wound", "must be true or false"),
        ("kind=DOLL", "kind", "must be one of tin_car, doll"),
        ("since=now", "since", "RFC 3339"),
        ("tags=a%00b", "tags", "NUL"),
        ("paint=AA", "paint", "unknown query parameter"),
        ("box=1", "box", "unknown query parameter"),
    ],
)
async def test_a_wrong_parameter_is_named(
    toys: httpx.AsyncClient, query: str, field: str, says: str
) -> None:
    answer = await toys.get(f"/v1/toys?{query}")
    assert problem(answer) == (400, "INVALID_ARGUMENT", "INVALID_FIELD")
    assert answer.json()["errors"][0]["field"] == field
    assert says in answer.json()["errors"][0]["detail"]


async def test_bytes_that_are_not_utf_8_are_a_400(toys: httpx.AsyncClient) -> None:
    for path in ("/v1/toys?label=%FF", "/v1/toys/%FF", "/v1/toys/a%00"):
        assert (await toys.get(path)).status_code == 400, path


async def test_a_body_field_is_the_body_and_the_rest_comes_by_query(
    toys: httpx.AsyncClient,
) -> None:
    answer = await toys.post("/v1/toys?twice=true", json={"label": "x", "counts": {"a": 1}})
    assert (answer.status_code, answer.json()["label"]) == (200, "x")
    assert answer.json()["counts"] == {"a": 1}
    refused = await toys.post("/v1/toys?toy.label=y", json={})
    assert refused.status_code == 400, "the body gives it"


async def test_a_whole_body_leaves_no_query_and_no_second_word_on_the_path(
    toys: httpx.AsyncClient,
) -> None:
    assert (await toys.post("/v1/toys/t:wind", json={"turns": 3})).json() == {"turns": 3}
    assert (await toys.post("/v1/toys/t:wind")).json() == {"turns": 0}
    doubled = await toys.post("/v1/toys/t:wind", json={"toy_id": "u"})
    assert "given by the path" in doubled.json()["detail"]
    assert (await toys.post("/v1/toys/t:wind?turns=3", json={})).status_code == 400


async def test_a_large_body_is_taken_apart_off_the_loop_and_keeps_its_json(
    toys: httpx.AsyncClient,
) -> None:
    story = b"[" + b"1.50," * 100_000 + b"1]"
    paint = base64.b64encode(bytes(range(256)) * 300)
    body = b'{"story": %b, "paint": "%b"}' % (story, paint)
    answer = await toys.post("/v1/toys", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert b'"story":' + story in answer.content
    assert b'"paint":"%b"' % paint in answer.content


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
    ],
)
async def test_only_plain_json_is_a_body(
    toys: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await toys.post("/v1/toys/t:wind", content=b"{}", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        ("CANCELLED", "X", 499), ("UNKNOWN", "X", 500), ("INVALID_ARGUMENT", "X", 400),
        ("DEADLINE_EXCEEDED", "X", 504), ("NOT_FOUND", "X", 404), ("ALREADY_EXISTS", "X", 409),
        ("PERMISSION_DENIED", "X", 403), ("UNAUTHENTICATED", "X", 401),
        ("RESOURCE_EXHAUSTED", "X", 429), ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE", 413),
        ("FAILED_PRECONDITION", "DELETED", 409), ("ABORTED", "ETAG_MISMATCH", 409),
        ("OUT_OF_RANGE", "X", 400), ("UNIMPLEMENTED", "X", 501), ("INTERNAL", "X", 500),
        ("UNAVAILABLE", "X", 503), ("DATA_LOSS", "X", 500),
    ],
)  # fmt: skip
async def test_each_grpc_status_is_one_http_status(
    toys: httpx.AsyncClient, code: str, reason: str, status: int
) -> None:
    answer = await toys.post("/v1/toys/t:wind", json={"code": code, "reason": reason})
    assert problem(answer) == (status, code, reason)
    assert answer.json()["detail"] == f"failed with {reason}"
    assert answer.json()["metadata"] == {"why": "asked"}


async def test_a_status_without_details_still_has_a_reason(toys: httpx.AsyncClient) -> None:
    answer = await toys.post("/v1/toys/t:wind", json={"code": "ABORTED"})
    assert problem(answer) == (409, "ABORTED", "ABORTED")


async def test_a_message_too_large_for_grpc_is_413_too() -> None:
    async with (
        toy_gateway(max_body_bytes=16 << 20, max_message_bytes=4 << 20) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        answer = await client.post("/v1/toys", json={"label": "x" * (5 << 20)})
    assert problem(answer) == (413, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")


async def test_a_wrong_method_is_405_and_says_which_are_right(toys: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/toys", "GET, HEAD, POST"),
        ("DELETE", "/v1/toys/t", "GET, HEAD"),
        ("GET", "/v1/toys/t:wind", "POST"),
        ("OPTIONS", "/v1/toys", "GET, HEAD, POST"),
        ("PROPFIND", "/v1/toys", "GET, HEAD, POST"),
    ):
        answer = await toys.request(method, path)
        assert problem(answer)[0] == 405
        assert answer.headers["allow"] == allowed


async def test_an_unknown_path_is_404_for_every_method(toys: httpx.AsyncClient) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await toys.request(method, "/v1/nothing")
        assert problem(answer) == (404, "NOT_FOUND", "UNKNOWN_PATH")


async def test_an_http_body_goes_out_raw_with_its_type_and_etag(toys: httpx.AsyncClient) -> None:
    answer = await toys.get("/v1/toys/t/picture?content_type=application/octet-stream&size=5000")
    assert answer.content == b"[" + b" " * 5000 + b"]"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in answer.headers
    assert answer.headers["etag"] == 'W/"e5000"'
    again = await toys.get(
        "/v1/toys/t/picture?content_type=application/octet-stream&size=5000",
        headers={"if-none-match": '"other", W/"e5000"'},
    )
    assert (again.status_code, again.content) == (304, b"")


async def test_json_over_a_kilobyte_is_compressed_for_those_who_take_it(
    toys: httpx.AsyncClient,
) -> None:
    path = "/v1/toys/t/picture?content_type=application/json&size="
    for size, accept, encoding in (
        (100, "gzip", None),
        (5_000, "gzip", "gzip"),
        (500_000, "gzip;q=0.5, br", "gzip"),
        (5_000, "identity", None),
        (5_000, "gzip;q=0", None),
        (5_000, "*", "gzip"),
    ):
        answer = await toys.get(f"{path}{size}", headers={"accept-encoding": accept})
        assert answer.headers.get("content-encoding") == encoding, (size, accept)
        assert len(answer.content) == size + 2
        assert answer.headers["etag"] == f'W/"e{size}"', "one tag for both forms"


async def test_head_has_the_headers_of_get_and_no_body(toys: httpx.AsyncClient) -> None:
    got = await toys.get("/v1/toys/t")
    head = await toys.head("/v1/toys/t")
    assert head.content == b""
    for name in ("content-type", "content-length", "etag"):
        assert head.headers[name] == got.headers[name]


async def test_a_stream_is_server_sent_events_with_ids_to_resume_from(
    toys: httpx.AsyncClient,
) -> None:
    answer = await toys.get("/v1/toys:watch?count=2", headers={"last-event-id": "5"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == (
        'id: 6\ndata: {"number":6,"resume_token":"6"}\n\n'
        'id: 7\ndata: {"number":7,"resume_token":"7"}\n\n'
    )


async def test_a_stream_that_fails_at_once_has_the_status_of_its_error(
    toys: httpx.AsyncClient,
) -> None:
    answer = await toys.get("/v1/toys:watch?fail_with=at once")
    assert problem(answer) == (400, "OUT_OF_RANGE", "RESUME_TOKEN_UNUSABLE")


async def test_a_stream_that_fails_later_ends_with_an_error_event(
    toys: httpx.AsyncClient,
) -> None:
    answer = await toys.get("/v1/toys:watch?count=1&fail_with=later")
    first, last = answer.text.strip().split("\n\n")
    assert first.startswith("id: 1\n")
    kind, data = last.split("\n")
    assert kind == "event: error"
    assert orjson.loads(data.removeprefix("data: "))["reason"] == "WATCHER_TOO_SLOW"


async def test_head_of_a_stream_ends(toys: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        answer = await toys.head("/v1/toys:watch?fail_with=later")
    assert answer.headers["content-type"].startswith("text/event-stream")
