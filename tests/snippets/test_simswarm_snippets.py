"""The documents on SimSwarm's storage, run as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY
from tests.snippets.snippets import python_blocks, run_python


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    store = minio.server()
    bucket = store.bucket()
    for name, value in {
        "MINIO_ENDPOINT": f"127.0.0.1:{store.port}",
        "MINIO_ACCESS_KEY": ACCESS_KEY,
        "MINIO_SECRET_KEY": SECRET_KEY,
        "MINIO_SECURE": "false",
        "MINIO_BUCKET": bucket,
    }.items():
        monkeypatch.setenv(name, value)
    return bucket


def test_the_page_on_simswarm(bucket: str) -> None:
    names = run_python(python_blocks("docs/simswarm.md"))
    assert names["curves"] == b"[]"
    assert minio.server().keys(bucket) == ["sim-data/1/posts.json", "sim-data/1/report.md"]


def test_the_page_on_pods(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python(python_blocks("docs/simswarm-pod.md"))
    assert "## What was missing" in names["markdown"]
    keys = minio.server().keys(bucket)
    assert "sim-data/1/report.md" in keys
    assert len(keys) == 10, "nine files without market curves, and the report"
