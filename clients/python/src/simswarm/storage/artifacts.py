"""A job's files for a program that runs beside the store: no URLs, the bytes themselves."""

from __future__ import annotations

import logging
import os
from functools import lru_cache

from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.transfer.bucket import Bucket
from gimle.asgard.transfer.errors import RefusedError

from simswarm.storage.sim_data import DEFAULT_BUCKET, object_path

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""What is read into memory at most."""


class ArtifactMissingError(Exception):
    """The file is not there, or there is no store."""


class ArtifactStore:
    """The files of jobs in one bucket: what the functions below do, for a store named otherwise."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def signed_by(cls, signer: Signer, bucket: str) -> ArtifactStore:
        """A bucket of the store that `signer` signs for."""
        return cls(Bucket(signer, bucket))

    def fetch_artifact(self, job_id: int, filename: str) -> bytes:
        """Read one file of a job whole; raises as the function of this name does."""
        try:
            return self._bucket.read(object_path(job_id, filename), MOST_BYTES)
        except RefusedError as error:
            if error.code == "NoSuchKey":
                raise ArtifactMissingError(object_path(job_id, filename)) from error
            raise

    def put_report_md(self, job_id: int, markdown: str) -> None:
        """Write a job's `report.md`. Raises TransferError."""
        key = object_path(job_id, "report.md")
        self._bucket.write(key, markdown.encode(), "text/markdown")


def fetch_artifact(job_id: int, filename: str) -> bytes:
    """Read one file of a job whole.

    Raises ArtifactMissingError when it is not there or MINIO_ENDPOINT is unset; RefusedError when
    the store says anything else (wrong keys, no such bucket), TransferError when it is away.
    """
    bucket = _bucket()
    if bucket is None:
        raise ArtifactMissingError(f"{filename}: MINIO_ENDPOINT is not set")
    return ArtifactStore(bucket).fetch_artifact(job_id, filename)


def put_report_md(job_id: int, markdown: str) -> None:
    """Write a job's `report.md`; without MINIO_ENDPOINT only a warning is logged.

    Raises TransferError.
    """
    bucket = _bucket()
    if bucket is None:
        logger.warning("MINIO_ENDPOINT is not set: the report of job %s is not stored", job_id)
        return
    ArtifactStore(bucket).put_report_md(job_id, markdown)


def _bucket() -> Bucket | None:
    """The bucket that MINIO_* names now, None without MINIO_ENDPOINT."""
    endpoint = os.environ.get("MINIO_ENDPOINT", "")
    if not endpoint:
        return None
    return _kept(
        endpoint,
        os.environ.get("MINIO_SECURE", "true").lower() == "true",
        os.environ.get("MINIO_ACCESS_KEY", ""),
        os.environ.get("MINIO_SECRET_KEY", ""),
        os.environ.get("MINIO_BUCKET") or DEFAULT_BUCKET,
    )


@lru_cache(maxsize=4)
def _kept(endpoint: str, secure: bool, access_key: str, secret_key: str, bucket: str) -> Bucket:
    signer = Signer(Endpoint.parse(endpoint, secure=secure), Credentials(access_key, secret_key))
    return Bucket(signer, bucket)
