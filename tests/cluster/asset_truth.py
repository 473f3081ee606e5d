"""The truth about assets, read past their service: from PostgreSQL, and from the bucket itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import asyncpg

from tests.cluster.processes import Cluster


class AssetLogged(NamedTuple):
    """An entry of the change log, with who could read what it is about, and who can since."""

    revision: int
    kind: str
    id: str
    before: frozenset[str]
    after: frozenset[str]


class AssetTruth(NamedTuple):
    """Everything at one moment.

    `assets` are states by ids, `contents` the SHA-256 of inline ones, `components` that of the
    bytes of each component by its name, `links` assets with experiments they go into.
    """

    head: int
    log: list[AssetLogged]
    assets: dict[str, str]
    contents: dict[str, str]
    components: dict[str, dict[str, str | None]]
    links: set[tuple[str, str]]
    readers: dict[tuple[str, str], frozenset[str]]
    granted: dict[tuple[str, str], frozenset[str]]
    created: dict[str, int]
    orphans: dict[str, int]

    def check(self) -> None:
        """Assert that revisions are dense, and that the tables agree with each other."""
        revisions = [entry.revision for entry in self.log]
        assert revisions == list(range(1, self.head + 1)), "the log has gaps, or goes back"
        assert self.readers == self.granted, "readers are not those of the grants"
        last = {(entry.kind, entry.id): entry.after for entry in self.log}
        there = {key: who for key, who in last.items() if who}
        assert there == self.readers, "the log's last word on readers is another"
        # Of every asset: one creation is logged and written down, however often it was asked for.
        twice = {id: times for id, times in self.created.items() if times != 1}
        assert not twice, f"created other than once: {twice}"
        assert not any(self.orphans.values()), self.orphans


_ORPHANS = {
    "asset_contents": "asset_id",
    "asset_components": "asset_id",
    "asset_texts": "asset_id",
    "asset_links": "asset_id",
}


async def asset_truth(cluster: Cluster, s3: Any) -> AssetTruth:
    """Read it, while nobody writes: the database as of one moment, then the bytes."""
    connection = await asyncpg.connect(cluster.dsn, server_settings={"search_path": "asgard"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _read(connection, cluster, s3)
    finally:
        await connection.close()


async def _read(connection: Any, cluster: Cluster, s3: Any) -> AssetTruth:
    head = await connection.fetchval("SELECT revision FROM asset_log_head")
    log = await connection.fetch("SELECT * FROM asset_log ORDER BY revision")
    assets = await connection.fetch("SELECT id, state FROM assets")
    contents = await connection.fetch("SELECT asset_id, body FROM asset_contents")
    links = await connection.fetch("SELECT asset_id, experiment_id FROM asset_links")
    components = await connection.fetch(
        "SELECT c.asset_id, c.name, 'blobs/' || b.id || '/' || b.attempt AS key"
        " FROM asset_components AS c JOIN assets AS a ON a.id = c.asset_id AND a.state = 'ready'"
        " LEFT JOIN blobs AS b ON b.id = c.blob_id AND b.state = 'ready'"
    )
    created = await connection.fetch(
        "SELECT object_id, count(*) FROM audit WHERE action = 'asset.create' GROUP BY object_id"
    )
    bytes_of = await asyncio.to_thread(_digests, cluster.storage, s3)
    found: dict[str, dict[str, str | None]] = defaultdict(dict)
    for row in components:
        found[row["asset_id"]][row["name"]] = bytes_of.get(row["key"])
    return AssetTruth(
        head,
        [
            AssetLogged(row[0], row[1], row[2], _set(row[3]), _set(row[4]))
            for row in map(tuple, log)
        ],
        {row["id"]: row["state"] for row in assets},
        {row["asset_id"]: hashlib.sha256(row["body"]).hexdigest() for row in contents},
        found,
        {(row["asset_id"], row["experiment_id"]) for row in links},
        await _principals(connection, "readers"),
        await _principals(connection, "grants"),
        {row["object_id"]: row["count"] for row in created},
        {
            table: await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM assets)"
            )
            for table, column in _ORPHANS.items()
        },
    )


async def _principals(connection: Any, table: str) -> dict[tuple[str, str], frozenset[str]]:
    rows = await connection.fetch(f"SELECT object_kind, object_id, principal FROM {table}")
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, id, principal in rows:
        found[kind, id].add(principal)
    return {key: frozenset(each) for key, each in found.items()}


def _set(principals: str) -> frozenset[str]:
    return frozenset(json.loads(principals))


def _digests(storage: str, s3: Any) -> dict[str, str]:
    bucket, _, prefix = storage.removeprefix("s3://").partition("/")
    client = s3.client()

    def digest(key: str) -> tuple[str, str]:
        try:
            body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except client.exceptions.NoSuchKey:  # of an asset that was deleted, swept meanwhile
            body = b""
        return key.removeprefix(f"{prefix}/"), hashlib.sha256(body).hexdigest()

    with ThreadPoolExecutor(4) as pool:
        return dict(pool.map(digest, s3.keys(bucket, f"{prefix}/blobs/")))
