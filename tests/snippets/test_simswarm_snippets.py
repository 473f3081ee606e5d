"""The documents on SimSwarm's storage, run as written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.engines import minio
from tests.gateway.job_servers import environment, files, read_from
from tests.gateway.monitors import a_monitor
from tests.snippets.snippets import python_blocks, run_python


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The documented variables, which are set, too."""
    store = minio.server()
    variables = environment(store, store.bucket())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


async def test_the_page_on_simswarm(given: dict[str, str], tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage", **read_from(given)) as served:
        text = python_blocks("docs/simswarm.md")
        names = await asyncio.to_thread(run_python, text, server=served.url, files=files())
        names["api"].close()
        listed = (await served.client.get("/api/jobs")).json()
    assert names["curves"] == b"[]"
    assert [job["status"] for job in listed["jobs"]] == ["completed"]
    # Below the service's files the page writes some itself, of a job of the same number.
    assert set(minio.server().keys(given["MINIO_BUCKET"])) == {
        f"sim-data/1/{name}" for name in (*files(), "report.md")
    }


def test_the_page_on_pods(
    given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python(python_blocks("docs/simswarm-pod.md"))
    assert "## What was missing" in names["markdown"]
    keys = minio.server().keys(given["MINIO_BUCKET"])
    assert "sim-data/1/report.md" in keys
    assert len(keys) == 10, "nine files without market curves, and the report"
