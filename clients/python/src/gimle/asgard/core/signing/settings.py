"""Which store, and as whom: the variables `ASGARD_S3_*`, else `MINIO_*`, else AWS's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.signing.endpoint import Endpoint
from gimle.asgard.core.signing.signer import Credentials, Signer

DEFAULT_BUCKET = "simswarm"
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """A bucket of a store, and who asks for it."""

    endpoint: Endpoint
    credentials: Credentials | Callable[[], Credentials]
    bucket: str = DEFAULT_BUCKET
    region: str = DEFAULT_REGION

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, bucket: str | None = None
    ) -> StoreSettings | None:
        """Read the variables; None when no endpoint is set.

        ENDPOINT, ACCESS_KEY, SECRET_KEY, REGION and SECURE begin with ASGARD_S3_ or MINIO_; the
        bucket is MINIO_BUCKET. Without keys those of AWS_ACCESS_KEY_ID count, and with boto3
        whatever else it finds. Raises InvalidFieldError: two values for one thing, or no keys.
        """
        text = setting(environ, "ENDPOINT")
        if not text:
            return None
        return cls(
            Endpoint.parse(text, secure=secure(environ)),
            _credentials(environ),
            bucket or environ.get("MINIO_BUCKET") or DEFAULT_BUCKET,
            setting(environ, "REGION") or environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
        )

    def signer(self) -> Signer:
        """Who signs for it."""
        return Signer(self.endpoint, self.credentials, region=self.region)


def setting(environ: Mapping[str, str], name: str) -> str:
    """`ASGARD_S3_{name}`, else `MINIO_{name}`, else nothing. Raises InvalidFieldError for two."""
    ours, theirs = environ.get(f"ASGARD_S3_{name}", ""), environ.get(f"MINIO_{name}", "")
    if ours and theirs and ours != theirs:
        raise InvalidFieldError(
            f"ASGARD_S3_{name}",
            f"is not what MINIO_{name} says",
            "set one of them, or both to the same",
        )
    return ours or theirs


def secure(environ: Mapping[str, str]) -> bool:
    """Whether an endpoint without http:// or https:// is called by HTTPS."""
    return setting(environ, "SECURE").lower() in ("", "true")


def keys(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The two keys of the store, if its own variables name them. Raises InvalidFieldError."""
    access, secret = setting(environ, "ACCESS_KEY"), setting(environ, "SECRET_KEY")
    if bool(access) != bool(secret):
        missing = "MINIO_SECRET_KEY" if access else "MINIO_ACCESS_KEY"
        raise InvalidFieldError(missing, "is not set", "set both keys or none")
    return (access, secret) if access else None


def _credentials(environ: Mapping[str, str]) -> Credentials | Callable[[], Credentials]:
    if (own := keys(environ)) is not None:
        return Credentials(*own)
    access = environ.get("AWS_ACCESS_KEY_ID", "")
    secret = environ.get("AWS_SECRET_ACCESS_KEY", "")
    if access and secret:
        return Credentials(access, secret, environ.get("AWS_SESSION_TOKEN") or None)
    if find_spec("boto3") is not None:
        # Profiles, roles and what else AWS users have; botocore renews what is lent.
        found = import_module("boto3").Session().get_credentials()
        if found is not None:
            return Lent(found).credentials
    raise InvalidFieldError(
        "MINIO_ACCESS_KEY", "is not set", "set MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or AWS_*"
    )


class Lent:
    """Credentials that botocore keeps fresh; the same object for as long as they are the same."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._last = Credentials("", "")

    def credentials(self) -> Credentials:
        """Whose turn it is now."""
        now = self._source.get_frozen_credentials()  # type: ignore[attr-defined]  # boto is optional
        found = Credentials(now.access_key, now.secret_key, now.token)
        if found != self._last:
            self._last = found
        return self._last
