"""The truth of a cluster, read past its services: from PostgreSQL, and from where documents lie."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import orjson

from tests.cluster.processes import Cluster


class Logged(NamedTuple):
    """An entry of the change log."""

    revision: int
    kind: str
    id: str
    run_id: str
    gone: bool


class Truth(NamedTuple):
    """Everything at one moment. `documents` and `rows` by (kind, id).

    A document is what its JSON says; a row is the run's name, or the id of the result's run.
    """

    head: int
    log: list[Logged]
    rows: dict[tuple[str, str], str]
    documents: dict[tuple[str, str], dict[str, Any]]

    def check(self) -> None:
        """Assert that revisions are dense, and that index and documents say the same."""
        revisions = [entry.revision for entry in self.log]
        assert revisions == list(range(1, self.head + 1)), "the log has gaps, or goes back"
        said = {key: _said(key[0], body) for key, body in self.documents.items()}
        assert self.rows == said, _first_difference(self.rows, said)
        last = {(entry.kind, entry.id): entry for entry in self.log}
        assert {key for key, entry in last.items() if not entry.gone} == set(self.rows)


async def truth(cluster: Cluster, s3: Any = None) -> Truth:
    """Read it: the database as of one moment, then the documents."""
    connection = await asyncpg.connect(cluster.dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            head = await connection.fetchval("SELECT revision FROM asgard.run_log_head")
            log = await connection.fetch(
                "SELECT revision, kind, id, run_id, gone FROM asgard.run_log ORDER BY revision"
            )
            runs = await connection.fetch("SELECT id, document FROM asgard.runs")
            results = await connection.fetch("SELECT id, run_id FROM asgard.results")
    finally:
        await connection.close()
    rows = {("run", row["id"]): orjson.loads(row["document"])["name"] for row in runs}
    rows |= {("result", row["id"]): row["run_id"] for row in results}
    documents = await asyncio.to_thread(_documents, cluster.storage, s3)
    return Truth(head, [Logged(*row) for row in log], rows, documents)


async def settled(cluster: Cluster, s3: Any = None, seconds: float = 60.0) -> Truth:
    """The truth, as soon as index and documents agree; fails when they do not in time.

    What a replica had written when it died, and told nobody, is found by the others.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = await truth(cluster, s3)
        try:
            found.check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return found


def _documents(storage: str, s3: Any) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for kind, folder in (("run", "runs"), ("result", "results")):
        for name, body in _bodies(storage, folder, s3):
            if name.endswith(".json") and not name.startswith(".") and body:
                found[kind, name.removesuffix(".json")] = orjson.loads(body)
    return found


def _bodies(storage: str, folder: str, s3: Any) -> list[tuple[str, bytes]]:
    if s3 is None:
        return [(path.name, path.read_bytes()) for path in (Path(storage) / folder).iterdir()]
    bucket, _, prefix = storage.removeprefix("s3://").partition("/")
    client = s3.client()

    def body(key: str) -> tuple[str, bytes]:
        return key.rpartition("/")[2], client.get_object(Bucket=bucket, Key=key)["Body"].read()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(body, s3.keys(bucket, f"{prefix}/{folder}/")))


def _said(kind: str, document: Mapping[str, Any]) -> str:
    return str(document["name" if kind == "run" else "run_id"])


def _first_difference(rows: Mapping[Any, str], said: Mapping[Any, str]) -> str:
    wrong = [key for key in {*rows, *said} if rows.get(key) != said.get(key)]
    shown = [(key, rows.get(key), said.get(key)) for key in sorted(wrong)[:5]]
    return f"{len(wrong)} differ (key, row, document): {shown}"
