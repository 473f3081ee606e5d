"""The documents on SimSwarm's storage, run as written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.engines import minio
from tests.gateway.job_servers import environment, files, read_from
from tests.gateway.monitors import a_monitor
from tests.snippets.snippets import python_blocks, run_python


async def test_the_page_on_simswarm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = minio.server()
    given = environment(store, store.bucket())
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    async with a_monitor(tmp_path / "storage", **read_from(given)) as served:
        text = python_blocks("docs/simswarm.md")
        names = await asyncio.to_thread(run_python, text, server=served.url, files=files())
        names["api"].close()
        listed = (await served.client.get("/api/jobs")).json()
    assert names["curves"] == b"[]"
    assert [job["status"] for job in listed["jobs"]] == ["completed"]
    # Below the service's files the page writes some itself, of a job of the same number.
    assert set(store.keys(given["MINIO_BUCKET"])) == {
        f"sim-data/1/{name}" for name in (*files(), "report.md")
    }
