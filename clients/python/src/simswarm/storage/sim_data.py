"""The files of a job, and the URLs by which they are uploaded and downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from gimle.asgard.core.signing import Credentials, Endpoint, Signer

SIM_DATA_FILES = [
    "market_curves.json",
    "agent_trajectories.json",
    "engagement_summary.json",
    "top_posts.json",
    "posts.json",
    "trades.json",
    "social_graph.json",
    "profiles.json",
    "chat_log.json",
    "relations.json",
]
"""What a job may leave behind. `report.md` is no part of it: the report task writes that itself."""

UPLOAD_EXPIRY = timedelta(hours=14)
"""Longer than the longest simulation (12 hours): the URLs are made when the job is."""

DOWNLOAD_EXPIRY = timedelta(hours=1)

DEFAULT_BUCKET = "simswarm"


def object_path(job_id: int, filename: str) -> str:
    """The key of a job's file."""
    return f"sim-data/{job_id}/{filename}"


class PresigningClient:
    """Makes URLs for a store, asking nobody: not even for the bucket's region."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, secure: bool) -> None:
        self._signer = Signer(
            Endpoint.parse(endpoint, secure=secure), Credentials(access_key, secret_key)
        )

    def presigned_put_object(self, bucket: str, key: str, expires: timedelta) -> str:
        """A URL to upload to `key` with."""
        return self._signer.presign("PUT", bucket, key, int(expires.total_seconds()))

    def presigned_get_object(self, bucket: str, key: str, expires: timedelta) -> str:
        """A URL to download `key` with."""
        return self._signer.presign("GET", bucket, key, int(expires.total_seconds()))


class SimDataStorage:
    """Makes the URLs of a job's files.

    `endpoint` is host:port; "" turns everything off. `proxy_base` is where browsers reach the
    store through a proxy, which must pass on the store's own Host: download URLs are rewritten to
    it. Nothing is asked over the network, so whether a file exists is not known.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        secure: bool = True,
        proxy_base: str = "",
    ) -> None:
        self._enabled = bool(endpoint)
        self._bucket = bucket
        self._proxy_base = proxy_base
        self._client: PresigningClient | None = None
        if self._enabled:
            self._client = PresigningClient(endpoint, access_key, secret_key, secure)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> SimDataStorage:
        """The storage that the variables `MINIO_*` name; off when MINIO_ENDPOINT is unset."""
        return cls(
            environ.get("MINIO_ENDPOINT", ""),
            environ.get("MINIO_ACCESS_KEY", ""),
            environ.get("MINIO_SECRET_KEY", ""),
            environ.get("MINIO_BUCKET") or DEFAULT_BUCKET,
            environ.get("MINIO_SECURE", "true").lower() == "true",
            environ.get("MINIO_PROXY_BASE", ""),
        )

    def generate_upload_urls(self, job_id: int) -> dict[str, str] | None:
        """A URL to PUT each file of SIM_DATA_FILES with; None without a store."""
        if not self._enabled or self._client is None:
            return None
        return {
            name: self._client.presigned_put_object(
                self._bucket, self._object_path(job_id, name), expires=UPLOAD_EXPIRY
            )
            for name in SIM_DATA_FILES
        }

    def generate_download_urls(self, job_id: int) -> dict[str, str] | None:
        """A URL to GET each file of SIM_DATA_FILES with; None without a store.

        One whose file was never produced answers 404 at the store.
        """
        if not self._enabled or self._client is None:
            return None
        return {
            name: self._rewritten(
                self._client.presigned_get_object(
                    self._bucket, self._object_path(job_id, name), expires=DOWNLOAD_EXPIRY
                )
            )
            for name in SIM_DATA_FILES
        }

    def _object_path(self, job_id: int, filename: str) -> str:
        return object_path(job_id, filename)

    def _rewritten(self, url: str) -> str:
        """The URL through the proxy: its base, then path and query as they were signed."""
        if not self._proxy_base:
            return url
        parts = urlsplit(url)
        return f"{self._proxy_base}{parts.path}?{parts.query}"
