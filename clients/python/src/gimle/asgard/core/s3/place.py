"""Where a storage in S3 lies, and how its store is reached."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.signing.endpoint import Endpoint
from gimle.asgard.core.signing.settings import keys, secure, setting

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STEP = re.compile(r"[^/\\\x00-\x1f\x7f]+")
_MOST_PREFIX_BYTES = 512
_CONNECTIONS = 32
READ_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """A prefix of a bucket.

    credentials: boto3's own words (aws_access_key_id, ...); what is not there is read from
    AWS's own variables, a profile or the machine's role, as every AWS tool does.
    """

    bucket: str
    prefix: str
    endpoint: str | None = None
    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    encryption: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, path: str) -> str:
        """The key of what lies at `path` below the place."""
        return f"{self.prefix}/{path}" if self.prefix else path


def parse_url(where: str) -> Place:
    """Read `s3://bucket/prefix`. Raises InvalidFieldError for the field `where`."""
    bucket, _, prefix = where.partition("://")[2].partition("/")
    return checked_place(bucket, prefix, "where", "where")


def checked_place(
    bucket: object,
    prefix: object,
    bucket_field: str,
    prefix_field: str,
    endpoint: object = None,
    credentials: Mapping[str, Any] | None = None,
) -> Place:
    """Check each part and name the place. Raises InvalidFieldError, which names the field."""
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
        raise InvalidFieldError(
            bucket_field,
            f"{bucket!r} is not the name of a bucket",
            "give s3://bucket/prefix"
            if bucket_field == "where"
            else "give 3 to 63 of a-z, 0-9, - and .",
        )
    if not isinstance(prefix, str):
        raise InvalidFieldError(prefix_field, f"{prefix!r} is not text", 'give one like "runs"')
    inside = prefix.strip("/")
    steps = inside.split("/") if inside else []
    if (
        any(step in (".", "..") or not _STEP.fullmatch(step) for step in steps)
        or len(inside.encode()) > _MOST_PREFIX_BYTES
    ):
        raise InvalidFieldError(
            prefix_field,
            f"{prefix!r} is not a prefix",
            f"give names with single slashes between them, {_MOST_PREFIX_BYTES} bytes at most",
        )
    return Place(bucket, inside, _endpoint(endpoint), _credentials(credentials or {}))


def _endpoint(given: object) -> str | None:
    """The store's address; None leaves it to boto3, which reads AWS_ENDPOINT_URL."""
    if not given:
        text = setting(os.environ, "ENDPOINT")
        return Endpoint.parse(text, secure=secure(os.environ)).url if text else None
    if not isinstance(given, str) or not re.match(r"https?://[^/\s]+", given):
        raise InvalidFieldError(
            "endpoint_url", f"{given!r} is not an address", "give one like http://localhost:9000"
        )
    return given


def _credentials(given: Mapping[str, Any]) -> dict[str, Any]:
    """Who asks, in boto3's words: as given, else as the store's variables say, else boto3 looks."""
    found = dict(given)
    if not any(name in found for name in ("aws_access_key_id", "aws_secret_access_key")):
        own = keys(os.environ)
        if own is not None:
            found["aws_access_key_id"], found["aws_secret_access_key"] = own
    region = setting(os.environ, "REGION")
    if region:
        found.setdefault("region_name", region)
    return found


class Connection:
    """One boto3 client for each process; threads share it. A forked child makes its own.

    `read_seconds`: how long the store may say nothing.
    """

    def __init__(self, place: Place, *, read_seconds: float | None = None) -> None:
        self._place = place
        self._read_seconds = READ_SECONDS if read_seconds is None else read_seconds
        self._lock = threading.Lock()
        self._made: tuple[int, Any] | None = None
        self.client()

    def client(self) -> Any:
        """The client of this process."""
        made = self._made
        if made is None or made[0] != os.getpid():
            # A lock held by another thread at the moment of the fork stays so in the child.
            lock = self._lock if made is None else threading.Lock()
            with lock:
                made = (os.getpid(), _client(self._place, self._read_seconds))
                self._made = made
        return made[1]


def _client(place: Place, read_seconds: float) -> Any:
    config = Config(
        connect_timeout=5,
        read_timeout=read_seconds,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 6},
        # Other stores do not know all the checksums that Amazon's does.
        request_checksum_calculation=_checksums("AWS_REQUEST_CHECKSUM_CALCULATION"),
        response_checksum_validation=_checksums("AWS_RESPONSE_CHECKSUM_VALIDATION"),
    )
    options: dict[str, Any] = dict(place.credentials)
    if place.endpoint is not None:
        options["endpoint_url"] = place.endpoint
    try:
        session = boto3.Session()
        if "region_name" not in options and session.region_name is None:
            options["region_name"] = "us-east-1"
        client = session.client("s3", config=config, **options)
    except (BotoCoreError, ValueError) as error:
        raise InvalidFieldError(
            "AWS settings", str(error), "set AWS_* variables or the config's keys"
        ) from error
    if place.encryption:

        def encrypted(params: dict[str, Any], **_: Any) -> None:
            params.update(place.encryption)

        for call in ("PutObject", "CopyObject", "CreateMultipartUpload"):
            client.meta.events.register(f"provide-client-params.s3.{call}", encrypted)
    return client


def _checksums(variable: str) -> Literal["when_supported", "when_required"]:
    """When checksums go along that nobody asked for: as every AWS tool is told, else seldom."""
    match os.environ.get(variable, "").lower():
        case "when_supported":
            return "when_supported"
        case "when_required" | "":
            return "when_required"
        case other:
            mend = "give when_supported or when_required"
            raise InvalidFieldError(variable, f"is {other!r}", mend)
