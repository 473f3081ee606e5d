"""obstore's clients of a place in S3."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import boto3
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store


def endpoint_of(place: Place) -> str | None:
    """The address of the store; None for Amazon's."""
    return (
        place.endpoint
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or None
    )


def region_of(place: Place) -> str:
    """The region of the store."""
    return str(place.credentials.get("region_name") or boto3.Session().region_name or "us-east-1")


def client_of(place: Place, **client: Any) -> S3Store:
    """A client of the place, which tries once; `client` are options of its connections."""
    given = place.credentials
    endpoint = endpoint_of(place)
    options: dict[str, Any] = {
        "region": region_of(place),
        "virtual_hosted_style_request": endpoint is None and "." not in place.bucket,
    }
    if endpoint is not None:
        options["endpoint"] = endpoint
    if place.encryption:
        options["server_side_encryption"] = place.encryption["ServerSideEncryption"]
        if "SSEKMSKeyId" in place.encryption:
            options["sse_kms_key_id"] = place.encryption["SSEKMSKeyId"]
    if "aws_access_key_id" in given:
        options["access_key_id"] = given["aws_access_key_id"]
        options["secret_access_key"] = given["aws_secret_access_key"]
        if given.get("aws_session_token"):
            options["session_token"] = given["aws_session_token"]
    else:
        try:
            options["credential_provider"] = Boto3CredentialProvider(boto3.Session())
        except ValueError as error:
            mend = "no credentials; set ASGARD_S3_ACCESS_KEY and ASGARD_S3_SECRET_KEY, or AWS_*"
            raise StorageUnavailableError(str(place), mend) from error
    settings: Any = {
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=3),
        **client,
    }
    return S3Store(
        place.bucket,
        client_options=settings,
        retry_config={"max_retries": 0},
        **options,
    )
