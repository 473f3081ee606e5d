"""What the signer keeps, refuses and derives."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.signing import LONGEST_S, Credentials, Endpoint, Signer

HERE = Endpoint.parse("http://localhost:9000")
WHO = Credentials("someone", "secret")
NOON = 1_795_262_400


def signature(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]


def test_urls_live_for_a_second_to_a_week() -> None:
    signer = Signer(HERE, WHO, longest_s=3_600)
    assert "X-Amz-Expires=3600&" in signer.presign("GET", "bucket", "k", 3_600)
    for expires_s in (0, -1, 3_601):
        with pytest.raises(InvalidFieldError, match="expires_s"):
            signer.presign("GET", "bucket", "k", expires_s)
        with pytest.raises(InvalidFieldError, match="expires_s"):
            signer.presign("PUT", "bucket", "k", expires_s, headers={"if-none-match": "*"})
    with pytest.raises(InvalidFieldError, match="longest_s"):
        Signer(HERE, WHO, longest_s=LONGEST_S + 1)


@pytest.mark.parametrize("key", ["", "k" * 1_025, "ä" * 513, "\ud800"])
def test_a_key_has_1_to_1024_bytes(key: str) -> None:
    with pytest.raises(InvalidFieldError, match="key"):
        Signer(HERE, WHO).presign("GET", "bucket", key, 60)


@pytest.mark.parametrize("bucket", ["", "a/b", "..%2f", "a?b", "ä"])
def test_a_bucket_is_no_path(bucket: str) -> None:
    with pytest.raises(InvalidFieldError, match="bucket"):
        Signer(HERE, WHO).presign("GET", bucket, "k", 60)


@pytest.mark.parametrize("headers", [{"Range": "a", "range": "b"}, {"Host": "elsewhere"}])
def test_a_header_is_signed_once(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidFieldError, match="headers"):
        Signer(HERE, WHO).presign("GET", "bucket", "k", 60, headers=headers)


def test_the_time_is_the_clock_s() -> None:
    now = NOON + 0.9
    signer = Signer(HERE, WHO, clock=lambda: now)
    first = signer.presign("GET", "bucket", "k", 60)
    assert "X-Amz-Date=20261121T120000Z" in first
    assert signer.presign("GET", "bucket", "k", 60) == first
    now += 0.1
    assert "X-Amz-Date=20261121T120001Z" in signer.presign("GET", "bucket", "k", 60)
    now += 12 * 3600
    assert "20261122%2Fus-east-1%2Fs3%2Faws4_request" in signer.presign("GET", "bucket", "k", 60)


def test_credentials_may_rotate() -> None:
    now = [WHO]
    signer = Signer(HERE, lambda: now[0], clock=lambda: NOON)
    first = signer.presign("GET", "bucket", "k", 60)
    now[0] = Credentials("someone", "another secret", "a/token", expire_time=NOON + 30)
    second = signer.presign("GET", "bucket", "k", 60)
    assert signature(first) != signature(second)
    assert second.partition("&X-Amz-Signature")[0].endswith("&X-Amz-Security-Token=a%2Ftoken")
    assert signer.expire_time(60) == NOON + 30
    assert signer.expire_time(10) == NOON + 10


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(Credentials("someone", "hush", "hush too"))


@pytest.mark.parametrize(
    ("text", "secure", "url"),
    [
        ("localhost:9000", False, "http://localhost:9000/b/k"),
        ("localhost:9000", True, "https://localhost:9000/b/k"),
        ("http://localhost:9000/", True, "http://localhost:9000/b/k"),
        ("https://example.org/minio/", False, "https://example.org/minio/b/k"),
    ],
)
def test_an_endpoint_is_a_url_or_host_and_port(text: str, secure: bool, url: str) -> None:
    signer = Signer(Endpoint.parse(text, secure=secure), WHO)
    assert signer.presign("GET", "b", "k", 60).startswith(f"{url}?")


@pytest.mark.parametrize(
    "text", ["", "ftp://host", "http://", "host:port", "http://user@host", "http://host/?a=b"]
)
def test_what_is_not_an_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="endpoint"):
        Endpoint.parse(text)
