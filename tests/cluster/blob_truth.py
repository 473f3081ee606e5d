"""The truth about blobs, read past their service: from PostgreSQL, and from the bucket itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import asyncpg

from tests.cluster.blob_processes import BlobCluster


class Row(NamedTuple):
    """A row of the table of blobs."""

    id: str
    name: str
    state: str
    attempt: str
    size_bytes: int | None
    sha256: str | None

    @property
    def key(self) -> str:
        """Where its bytes must be."""
        first, second = self.id, self.attempt
        if self.attempt.startswith("~"):  # it has a folder in common with others of its call
            first, second = second, first
        return f"blobs/{first}/{second}"


class BlobTruth(NamedTuple):
    """All rows, and the SHA-256 of all bytes below `blobs/` by their keys."""

    rows: list[Row]
    digests: dict[str, str]

    def check(self, uploaded: Mapping[str, str], gone: set[str]) -> None:
        """Assert that what was acknowledged is there, and that rows and bytes agree."""
        ready = {row.name: row for row in self.rows if row.state == "ready"}
        for name, sha256 in uploaded.items():
            assert name in ready, f"{name} was acknowledged, and is lost"
            found = self.digests.get(ready[name].key)
            assert found == sha256, f"{name} has bytes of {found} instead of {sha256}"
        assert not gone & set(ready), "deleted, and there again"
        for row in ready.values():
            # Ready is also what a caller was not told of any more, because its replica had died.
            found = self.digests.get(row.key)
            assert found is not None, f"{row} has no bytes"
            assert row.sha256 in (None, found), f"{row} has other bytes"


async def blob_truth(cluster: BlobCluster) -> BlobTruth:
    """Read it, while nobody writes."""
    connection = await asyncpg.connect(cluster.dsn)
    try:
        rows = await connection.fetch(
            "SELECT id, name, state, attempt, size_bytes, sha256 FROM asgard.blobs"
        )
    finally:
        await connection.close()
    return BlobTruth([Row(*row) for row in rows], await asyncio.to_thread(_digests, cluster))


def _digests(cluster: BlobCluster) -> dict[str, str]:
    client = cluster.store.client()

    def digest(key: str) -> tuple[str, str]:
        body = client.get_object(Bucket=cluster.bucket, Key=key)["Body"]
        hash = hashlib.sha256()
        for chunk in body.iter_chunks(1 << 20):
            hash.update(chunk)
        return key.removeprefix(cluster.prefix), hash.hexdigest()

    keys = cluster.store.keys(cluster.bucket, f"{cluster.prefix}blobs/")
    with ThreadPoolExecutor(4) as pool:
        return dict(pool.map(digest, keys))
