"""The signer against botocore: the same bytes for whatever may be signed."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as TheirCredentials
from gimle.asgard.core.signing import LONGEST_S, Credentials, Endpoint, Signer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import EXAMPLES

BUCKET = "a.bucket-of-tests"
ENDPOINTS = (
    "http://127.0.0.1:9000",
    "https://minio.internal",
    "https://S3.Example.org:443",
    "http://store.example.org:80",
    "https://s3.eu-central-1.amazonaws.com",
    "https://example.org:8443/behind/a/proxy",
    "http://[::1]:9000",
)
NUMERIC = ("http://127.0.0.1:9000", "http://[::1]:9000")
CREDENTIALS = (
    Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    Credentials("minio/admin+x", "séçret", "token/with+all=of it~"),
)
URLS = {
    "get_object": "GET",
    "head_object": "HEAD",
    "put_object": "PUT",
    "delete_object": "DELETE",
    "upload_part": "PUT",
}
HEADERS = {
    "ContentType": "content-type",
    "IfNoneMatch": "if-none-match",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
}

times = st.integers(0, 4_102_444_800)
keys = st.one_of(
    st.from_regex(r"[a-zA-Z0-9._~/-]{1,60}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
)
digests = st.binary(min_size=32, max_size=32).map(lambda digest: b64encode(digest).decode())
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
queries = st.fixed_dictionaries(
    {},
    optional={
        "ResponseContentDisposition": st.text(
            st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40
        ),
        "ResponseContentType": values,
        "VersionId": values,
        "PartNumber": st.integers(1, 10_000),
    },
)
QUERIES = {
    "ResponseContentDisposition": "response-content-disposition",
    "ResponseContentType": "response-content-type",
    "VersionId": "versionId",
    "PartNumber": "partNumber",
    "UploadId": "uploadId",
}


@cache
def their_client(endpoint: str, who: Credentials, region: str, style: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
        aws_session_token=who.session_token,
        region_name=region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": style},
            request_checksum_calculation="when_required",
        ),
    )


def at(now: int) -> Any:
    """Let botocore believe that it is `now`."""
    frozen = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    return patch("botocore.auth.get_current_datetime", lambda *_: frozen)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    endpoint=st.sampled_from(ENDPOINTS),
    style=st.sampled_from(["path", "virtual"]),
    who=st.sampled_from(CREDENTIALS),
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
    bucket=st.sampled_from(["simswarm", BUCKET, "0-9"]),
    operation=st.sampled_from(["get_object", "head_object", "delete_object"]),
    key=keys,
    query=queries,
    expires_s=st.integers(1, LONGEST_S),
    now=times,
)
def test_urls_to_read_and_delete(
    endpoint: str,
    style: Any,
    who: Credentials,
    region: str,
    bucket: str,
    operation: str,
    key: str,
    query: dict[str, Any],
    expires_s: int,
    now: int,
) -> None:
    # botocore asks for a.bucket.127.0.0.1, a host that no resolver knows.
    assume(style == "path" or bucket != BUCKET or endpoint not in NUMERIC)
    if operation == "delete_object":
        query = {name: value for name, value in query.items() if name == "VersionId"}
    with at(now):
        theirs = their_client(endpoint, who, region, style).generate_presigned_url(
            operation, {"Bucket": bucket, "Key": key, **query}, expires_s
        )
    # The order of the parameters is botocore's; a caller may give them in any.
    order = [name for name in QUERIES.values() if f"{name}=" in theirs.partition("?")[2]]
    order.sort(key=lambda name: theirs.index(f"{name}="))
    asked = {QUERIES[name]: str(value) for name, value in query.items()}
    signer = Signer(Endpoint.parse(endpoint, style=style), who, region=region, clock=lambda: now)
    assert (
        signer.presign(
            URLS[operation], bucket, key, expires_s, query={name: asked[name] for name in order}
        )
        == theirs
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    endpoint=st.sampled_from(ENDPOINTS),
    style=st.sampled_from(["path", "virtual"]),
    who=st.sampled_from(CREDENTIALS),
    key=keys,
    headers=st.fixed_dictionaries(
        {},
        optional={
            "ContentType": values,
            "IfNoneMatch": st.just("*"),
            "ChecksumSHA256": digests,
            "CacheControl": st.just(" no-cache,   no-store "),
            "ContentDisposition": values,
        },
    ),
    length=st.none() | st.integers(0, 5 << 30),
    part=st.none() | st.integers(1, 10_000),
    expires_s=st.integers(1, LONGEST_S),
    now=times,
)
def test_urls_to_write(
    endpoint: str,
    style: Any,
    who: Credentials,
    key: str,
    headers: dict[str, str],
    length: int | None,
    part: int | None,
    expires_s: int,
    now: int,
) -> None:
    operation, query = "put_object", {}
    if part is not None:
        operation, query = "upload_part", {"PartNumber": part, "UploadId": "an/upload+id=="}
        headers = {name: headers[name] for name in headers if name == "ChecksumSHA256"}
    sized = {} if length is None else {"ContentLength": length}
    with at(now):
        theirs = their_client(endpoint, who, "us-east-1", style).generate_presigned_url(
            operation, {"Bucket": "simswarm", "Key": key, **headers, **sized, **query}, expires_s
        )
    sent = {HEADERS[name]: value for name, value in headers.items()}
    if length is not None:
        sent["Content-Length"] = str(length)
    asked = {QUERIES[name]: str(value) for name, value in query.items()}
    signer = Signer(Endpoint.parse(endpoint, style=style), who, clock=lambda: now)
    assert (
        signer.presign(URLS[operation], "simswarm", key, expires_s, headers=sent, query=asked)
        == theirs
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    endpoint=st.sampled_from(ENDPOINTS),
    style=st.sampled_from(["path", "virtual"]),
    who=st.sampled_from(CREDENTIALS),
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    key=keys | st.just(""),
    query=st.dictionaries(
        st.sampled_from(["list-type", "prefix", "start-after", "X-Odd", "partNumber", "uploads"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    ),
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "x-amz-meta-a", "Range", "content-md5", "X-Amz-Acl"]),
        values.map(lambda value: f" {value}  b "),
    ),
    body=st.binary(max_size=20),
    now=times,
)
def test_signed_headers(
    endpoint: str,
    style: Any,
    who: Credentials,
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    now: int,
) -> None:
    signer = Signer(Endpoint.parse(endpoint, style=style), who, clock=lambda: now)
    url, sent = signer.sign(
        method, BUCKET, key, headers=headers, query=query, payload=sha256(body).hexdigest()
    )
    # What botocore makes of the same request, its body read because it is asked to sign it.
    request = AWSRequest(method, url, headers=headers, data=body)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": True})
    theirs = TheirCredentials(who.access_key, who.secret_key, who.session_token)
    with at(now):
        S3SigV4Auth(theirs, "s3", "us-east-1").add_auth(request)
    assert dict(request.headers.items()) == sent
