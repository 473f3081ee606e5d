"""A storage in S3 is found by the variables that services are given, or by AWS's own."""

from __future__ import annotations

import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.data.s3 import S3Storage
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.s3.place import parse_url

from tests.engines import minio

ALL = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "REGION", "SECURE")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:
        monkeypatch.delenv(f"ASGARD_S3_{name}", raising=False)
        monkeypatch.delenv(f"MINIO_{name}", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("prefix", ["ASGARD_S3_", "MINIO_"])
def test_the_variables_of_a_service_are_enough(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    server = minio.server()
    address = server.variables["ASGARD_S3_ENDPOINT"].removeprefix("http://")
    monkeypatch.setenv(f"{prefix}ENDPOINT", address)
    monkeypatch.setenv(f"{prefix}SECURE", "false")
    monkeypatch.setenv(f"{prefix}ACCESS_KEY", server.variables["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv(f"{prefix}SECRET_KEY", server.variables["AWS_SECRET_ACCESS_KEY"])
    bucket = server.bucket()
    storage = AsgardStorage(f"s3://{bucket}/here")
    assert storage.list_runs() == []
    assert S3Storage({"bucket_name": bucket}).list_objects("run") == []


def test_what_is_given_goes_before_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_S3_ENDPOINT", "https://elsewhere.example.org")
    monkeypatch.setenv("ASGARD_S3_ACCESS_KEY", "theirs")
    monkeypatch.setenv("ASGARD_S3_SECRET_KEY", "a secret")
    monkeypatch.setenv("ASGARD_S3_REGION", "eu-north-1")
    place = parse_url("s3://bucket/prefix")
    assert place.endpoint == "https://elsewhere.example.org"
    assert place.credentials == {
        "aws_access_key_id": "theirs",
        "aws_secret_access_key": "a secret",
        "region_name": "eu-north-1",
    }
    assert "a secret" not in repr(place)
    own = S3Storage(
        {
            "bucket_name": "bucket",
            "endpoint_url": "http://127.0.0.1:1",
            "aws_access_key_id": "ours",
            "aws_secret_access_key": "own secret",
            "region_name": "eu-west-1",
        }
    )
    made = own._place
    assert (made.endpoint, made.credentials["aws_access_key_id"]) == ("http://127.0.0.1:1", "ours")
    assert made.credentials["region_name"] == "eu-west-1"


def test_without_them_it_is_left_to_the_tools_of_aws() -> None:
    place = parse_url("s3://bucket/prefix")
    assert (place.endpoint, place.credentials) == (None, {})


def test_contradictions_and_halves_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_S3_ACCESS_KEY", "key")
    with pytest.raises(InvalidFieldError, match="SECRET_KEY"):
        parse_url("s3://bucket/prefix")
    monkeypatch.setenv("ASGARD_S3_SECRET_KEY", "one")
    monkeypatch.setenv("MINIO_SECRET_KEY", "another")
    with pytest.raises(InvalidFieldError, match="ASGARD_S3_SECRET_KEY"):
        parse_url("s3://bucket/prefix")
