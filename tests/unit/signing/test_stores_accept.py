"""Signed URLs and headers at real stores: what they allow, and all that they do not."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256

import httpx
import pytest
from gimle.asgard.core.signing import Credentials, Endpoint, Signer

from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
KEY = "sim-data/1/with space+plus&ä~.json"
BODY = b'{"a": 1}'


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]()


@pytest.fixture
def bucket(store: Store) -> str:
    return store.bucket()


@pytest.fixture
def signer(store: Store) -> Signer:
    return Signer(Endpoint.parse(store.endpoint), Credentials(ACCESS_KEY, SECRET_KEY))


def write_once(body: bytes) -> dict[str, str]:
    return {
        "content-length": str(len(body)),
        "content-type": "application/json",
        "if-none-match": "*",
        "x-amz-checksum-sha256": b64encode(sha256(body).digest()).decode(),
    }


def put(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    return httpx.put(url, content=body, headers=dict(headers)).status_code


def test_the_first_right_bytes_win_and_nothing_else(signer: Signer, bucket: str) -> None:
    headers = write_once(BODY)
    url = signer.presign("PUT", bucket, KEY, 60, headers=headers)
    other = b'{"a": 2}'
    assert put(url, other, headers) == 400, "other bytes than the digest says"
    assert put(url, BODY[:-1], {**headers, "content-length": "7"}) == 403, "another length"
    assert put(url, BODY, {**headers, "content-type": "text/html"}) == 403, "another type"
    for name in ("if-none-match", "x-amz-checksum-sha256"):
        left_out = {key: value for key, value in headers.items() if key != name}
        assert put(url, BODY, left_out) in (400, 403), f"without {name}"
    assert put(url, BODY, headers) == 200
    assert put(url, BODY, headers) == 412, "the same URL again"
    read = httpx.get(signer.presign("GET", bucket, KEY, 60))
    assert (read.content, read.headers["content-type"]) == (BODY, "application/json")


def test_ranges_and_the_name_of_the_download(signer: Signer, bucket: str) -> None:
    assert put(signer.presign("PUT", bucket, KEY, 60), BODY, {}) == 200
    named = {"response-content-disposition": 'attachment; filename="a b.json"'}
    url = signer.presign("GET", bucket, KEY, 60, query=named)
    answer = httpx.get(url, headers={"range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, BODY[2:5])
    assert answer.headers["content-disposition"] == named["response-content-disposition"]


def test_a_url_is_for_one_key_one_method_and_one_time(
    signer: Signer, store: Store, bucket: str
) -> None:
    assert put(signer.presign("PUT", bucket, KEY, 60), BODY, {}) == 200
    url = signer.presign("GET", bucket, KEY, 60)
    assert put(url, BODY, {}) == 403, "another method"
    assert httpx.get(url.replace("sim-data/1/", "sim-data/2/")).status_code == 403, "another key"
    assert httpx.get(url.replace("Expires=60", "Expires=600")).status_code == 403, "longer"
    assert httpx.get(f"{url}&versionId=null").status_code == 403, "with one thing more"
    last = url[-1]
    assert httpx.get(url[:-1] + ("0" if last != "0" else "1")).status_code == 403, "altered"
    late = Signer(
        signer.endpoint, Credentials(ACCESS_KEY, SECRET_KEY), clock=lambda: time.time() - 120
    )
    assert httpx.get(late.presign("GET", bucket, KEY, 60)).status_code == 403, "expired"
    assert httpx.get(late.presign("GET", bucket, KEY, 600)).status_code == 200
    forged = Signer(signer.endpoint, Credentials(ACCESS_KEY, SECRET_KEY + "x"))
    assert httpx.get(forged.presign("GET", bucket, KEY, 60)).status_code == 403
    assert httpx.get(url).status_code == 200


def test_signed_headers_make_our_own_requests(signer: Signer, bucket: str) -> None:
    url, headers = signer.sign(
        "PUT",
        bucket,
        KEY,
        headers={"x-amz-meta-made-by": "a  test"},
        payload=sha256(BODY).hexdigest(),
    )
    assert httpx.put(url, content=BODY[::-1], headers=headers).status_code == 400, "other bytes"
    assert httpx.put(url, content=BODY, headers=headers).status_code == 200
    url, headers = signer.sign("GET", bucket, query={"list-type": "2", "prefix": "sim-data/1/w"})
    answer = httpx.get(url, headers=headers)
    assert answer.status_code == 200
    assert "<KeyCount>1</KeyCount>" in answer.text
    url, headers = signer.sign("GET", bucket, query={"list-type": "2", "prefix": "other"})
    assert "<KeyCount>0</KeyCount>" in httpx.get(url, headers=headers).text
