"""The documents on SimSwarm's storage, run as written."""

from __future__ import annotations

import pytest

from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY
from tests.snippets.snippets import python_blocks, run_python


def test_the_page_on_simswarm(monkeypatch: pytest.MonkeyPatch) -> None:
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
    names = run_python(python_blocks("docs/simswarm.md"))
    assert names["curves"] == b"[]"
    assert store.keys(bucket) == ["sim-data/1/posts.json", "sim-data/1/report.md"]
