"""SimSwarm's storage: the documented names, at real stores."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import saas.storage.minio_client
import saas.storage.minio_download
import simswarm.storage
from gimle.asgard.transfer.errors import RefusedError
from saas.storage.minio_client import (
    DOWNLOAD_EXPIRY,
    SIM_DATA_FILES,
    UPLOAD_EXPIRY,
    SimDataStorage,
)
from saas.storage.minio_download import ArtifactMissingError, fetch_artifact, put_report_md

from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
LONGEST_TIER_S = 43_200


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = STORES[request.param]()
    monkeypatch.setenv("MINIO_ENDPOINT", f"127.0.0.1:{store.port}")
    monkeypatch.setenv("MINIO_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("MINIO_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("MINIO_SECURE", "False")
    monkeypatch.setenv("MINIO_BUCKET", store.bucket())
    monkeypatch.delenv("MINIO_PROXY_BASE", raising=False)
    return store


def test_the_documented_paths_name_the_same_things() -> None:
    for module in (saas.storage.minio_client, saas.storage.minio_download):
        for name in module.__all__:
            assert getattr(module, name) is getattr(simswarm.storage, name)


def test_ten_files_without_the_report() -> None:
    assert len(SIM_DATA_FILES) == 10
    assert SIM_DATA_FILES[0] == "market_curves.json"
    assert SIM_DATA_FILES[-2:] == ["chat_log.json", "relations.json"]
    assert "report.md" not in SIM_DATA_FILES


def test_upload_urls_outlive_the_longest_simulation() -> None:
    assert timedelta(seconds=LONGEST_TIER_S + 3_600) <= UPLOAD_EXPIRY == timedelta(hours=14)
    assert timedelta(hours=1) == DOWNLOAD_EXPIRY


def test_a_pod_uploads_and_a_browser_downloads(store: Store) -> None:
    storage = SimDataStorage.from_environment()
    uploads, downloads = storage.generate_upload_urls(42), storage.generate_download_urls(42)
    assert uploads is not None
    assert downloads is not None
    assert list(uploads) == list(downloads) == SIM_DATA_FILES
    for name, url in uploads.items():
        if name != "market_curves.json":
            answer = httpx.put(
                url, content=f'["{name}"]', headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 200
    assert httpx.get(downloads["posts.json"]).json() == ["posts.json"]
    assert httpx.get(downloads["market_curves.json"]).status_code == 404
    assert parse_qs(urlsplit(uploads["posts.json"]).query)["X-Amz-Expires"] == ["50400"]
    assert parse_qs(urlsplit(downloads["posts.json"]).query)["X-Amz-Expires"] == ["3600"]
    assert fetch_artifact(42, "trades.json") == b'["trades.json"]'


def test_the_report_is_written_beside_the_artifacts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_report_md(7, "# Bericht für alle\n")
    put_report_md(7, "# Second try\n")
    assert fetch_artifact(7, "report.md") == b"# Second try\n"
    head = store.client().head_object(Bucket=os.environ["MINIO_BUCKET"], Key="sim-data/7/report.md")
    assert head["ContentType"] == "text/markdown"


def test_only_a_missing_object_is_a_missing_artifact(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactMissingError, match=r"sim-data/1/posts\.json"):
        fetch_artifact(1, "posts.json")
    monkeypatch.setenv("MINIO_BUCKET", "no-such-bucket")
    with pytest.raises(RefusedError, match="NoSuchBucket"):
        fetch_artifact(1, "posts.json")
    monkeypatch.setenv("MINIO_SECRET_KEY", "wrong")
    with pytest.raises(RefusedError, match="SignatureDoesNotMatch"):
        put_report_md(1, "text")


def test_without_an_endpoint_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MINIO_ENDPOINT", raising=False)
    for storage in (
        SimDataStorage(endpoint="", access_key="", secret_key="", bucket="b"),
        SimDataStorage.from_environment(),
    ):
        assert storage.generate_upload_urls(1) is None
        assert storage.generate_download_urls(1) is None
    with pytest.raises(ArtifactMissingError):
        fetch_artifact(1, "posts.json")
    with caplog.at_level(logging.WARNING):
        put_report_md(1, "text")
    assert "MINIO_ENDPOINT" in caplog.text


class Recorder:
    """Stands where the client is, as the tests of SimSwarm itself put one there."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, timedelta]] = []

    def presigned_put_object(self, bucket: str, key: str, expires: timedelta) -> str:
        self.asked.append((bucket, key, expires))
        return f"http://minio.internal:9000/{bucket}/{key}?X-Amz-Sig=abc"

    presigned_get_object = presigned_put_object


def made_bare(proxy_base: str) -> tuple[SimDataStorage, Recorder]:
    storage, client = SimDataStorage.__new__(SimDataStorage), Recorder()
    for name, value in {
        "_client": client,
        "_bucket": "simswarm",
        "_enabled": True,
        "_proxy_base": proxy_base,
    }.items():
        setattr(storage, name, value)
    return storage, client


def test_the_private_attributes_are_those_of_simswarm() -> None:
    storage, client = made_bare("")
    assert storage._object_path(42, "posts.json") == "sim-data/42/posts.json"
    uploads = storage.generate_upload_urls(job_id=42)
    assert uploads is not None
    assert len(uploads) == 10
    assert client.asked[0] == ("simswarm", "sim-data/42/market_curves.json", UPLOAD_EXPIRY)
    downloads = storage.generate_download_urls(job_id=42)
    assert downloads is not None
    assert client.asked[-1] == ("simswarm", "sim-data/42/relations.json", DOWNLOAD_EXPIRY)
    assert downloads["posts.json"].startswith("http://minio.internal:9000/")


def test_downloads_go_through_the_proxy_and_uploads_do_not() -> None:
    storage, _ = made_bare("https://simswarm.xyz/minio")
    downloads, uploads = storage.generate_download_urls(1), storage.generate_upload_urls(1)
    assert downloads is not None
    assert uploads is not None
    assert (
        downloads["posts.json"]
        == "https://simswarm.xyz/minio/simswarm/sim-data/1/posts.json?X-Amz-Sig=abc"
    )
    assert uploads["posts.json"].startswith("http://minio.internal:9000/")


def test_presigning_asks_nobody() -> None:
    storage = SimDataStorage("nowhere.invalid:9000", "someone", "secret", "simswarm")
    urls = storage.generate_upload_urls(1)
    assert urls is not None
    assert urls["posts.json"].startswith("https://nowhere.invalid:9000/simswarm/sim-data/1/posts")
