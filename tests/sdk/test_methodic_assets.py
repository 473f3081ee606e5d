"""Chronicle's client against a whole embedded server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gimle.asgard.transfer.progress import Progress
from methodic import (
    Chronicle,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ServerUnavailableError,
    TooLargeError,
    UploadError,
    UploadTracker,
    moving,
)
from methodic.background import FolderUpload

from tests.conftest import free_port
from tests.gateway.monitors import Served
from tests.sdk.chronicles import a_client, a_server

LARGE = 70 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with a_server(tmp_path_factory.mktemp("chronicle") / "storage") as running:
        yield running


@pytest.fixture
def chronicle(served: Served) -> Iterator[Chronicle]:
    with a_client(served) as client:
        yield client


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "weights" / "deep").mkdir(parents=True)
    (folder / "metadata.json").write_text("{}")
    (folder / "weights" / "a.bin").write_bytes(b"a" * 100_000)
    (folder / "weights" / "deep" / "b ü.bin").write_bytes(b"")
    return folder


def test_inline_content_is_ready_at_once_and_comes_back(
    chronicle: Chronicle, tmp_path: Path
) -> None:
    made = chronicle.assets.create_inline(
        asset_type="research_report", content={"notes": "..."}, name="a report"
    )
    assert made["asset"]["id"] == made.asset.id
    assert made.asset.state == "ready"
    found = chronicle.assets.get(made.asset.id, include_content=True)
    assert found.content == {"notes": "..."}
    text = chronicle.assets.create_inline(
        "hypothesis_report", "# Why\n", content_type="text/markdown"
    )
    (path,) = chronicle.assets.download(text.asset.id, tmp_path / "fetched")
    assert path.read_text() == "# Why\n"


def test_the_three_documented_steps(chronicle: Chronicle, out: Path) -> None:
    names = ["metadata.json", "weights/a.bin"]
    upload_info = chronicle.assets.create_with_presigned("checkpoint", names)
    assert set(upload_info.upload_urls) == set(names)
    first = names[0]
    chronicle.assets.upload_component(
        upload_info.upload_urls[first], out / first, "application/json"
    )
    with pytest.raises(ConflictError, match=r"weights/a\.bin") as caught:
        chronicle.assets.finalize(upload_info.asset_id)
    assert caught.value.code == "asset_incomplete"
    for filename, url in upload_info.upload_urls.items():
        chronicle.assets.upload_component(
            url, local_path=out / filename, content_type="application/octet-stream"
        )
    done = chronicle.assets.finalize(upload_info.asset_id)
    assert (done.asset.state, done.asset.size_bytes) == ("ready", 100_002)
    assert chronicle.assets.finalize(upload_info.asset_id).asset.state == "ready"
    # The URL is still good, and can no longer touch anything.
    late = httpx.put(upload_info.upload_urls["weights/a.bin"], content=b"late")
    assert late.status_code in (200, 403, 404, 412)
    got = chronicle.assets.get(upload_info.asset_id, include_presigned=True)
    assert httpx.get(got.download_urls["weights/a.bin"]).content == b"a" * 100_000


def test_an_asset_without_named_components_has_one_called_default(chronicle: Chronicle) -> None:
    info = chronicle.assets.create_with_presigned("checkpoint")
    assert list(info.upload_urls) == ["default"]


def test_a_folder_goes_in_the_background_with_names_by_its_paths(
    chronicle: Chronicle, out: Path, tmp_path: Path
) -> None:
    with (out / "large.bin").open("wb") as file:
        file.truncate(LARGE)
    told: list[Progress] = []
    what = FolderUpload(out, "checkpoint", "step 10", progress=told.append)
    asset_id = chronicle._background.begin(what).result(timeout=60)
    asset = chronicle.assets.get(asset_id)
    names = {each.name for each in asset.components}
    assert names == {"large.bin", "metadata.json", "weights/a.bin", "weights/deep/b ü.bin"}
    assert asset.size_bytes == told[-1].bytes_done == LARGE + 100_002
    paths = chronicle.assets.download(asset_id, tmp_path / "fetched")
    assert {path.relative_to(tmp_path / "fetched").as_posix() for path in paths} == names
    assert (tmp_path / "fetched" / "large.bin").stat().st_size == LARGE
    (tmp_path / "fetched" / "weights" / "a.bin").write_bytes(b"spoilt")
    chronicle.assets.download(asset_id, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "weights" / "a.bin").read_bytes() == b"a" * 100_000


def test_an_upload_that_was_cut_off_is_resumed_by_another_client(
    served: Served, out: Path, tmp_path: Path
) -> None:
    (out / "large.bin").write_bytes(bytes(LARGE))
    tracker = UploadTracker(tmp_path / "uploads.db")
    started = threading.Event()

    def slowly(progress: object) -> None:
        started.set()
        time.sleep(0.2)

    with a_client(served) as first:
        future = first._background.begin(
            FolderUpload(out, "checkpoint", tracker=tracker, progress=slowly)
        )
        assert started.wait(30)
    with pytest.raises(UploadError):
        future.result(timeout=30)
    (pending,) = tracker.get_pending_uploads()
    assert pending.problem
    with a_client(served) as second:
        (resumed,) = second.resume_uploads(tracker)
        assert resumed.result(timeout=60) == pending.asset_id
        assert second.assets.get(pending.asset_id).state == "ready"
    assert tracker.get_pending_uploads() == []


def test_a_grant_that_has_ended_is_asked_for_anew(chronicle: Chronicle, out: Path) -> None:
    files = moving.sources(out)
    made = chronicle.assets.create_with_presigned("checkpoint", files=files)
    for each in made.uploads:
        each["expires_at"] = "2020-01-01T00:00:00Z"
        each["url"] = f"http://127.0.0.1:{free_port()}/of-yesterday"
    chronicle.send(made, files)
    assert chronicle.assets.finalize(made.asset_id).asset.state == "ready"


def test_a_folder_that_changed_meanwhile_is_not_taken_for_the_same_upload(
    chronicle: Chronicle, out: Path, tmp_path: Path
) -> None:
    tracker = UploadTracker(tmp_path / "uploads.db")
    asset_id = chronicle._background.begin(FolderUpload(out, "checkpoint")).result(timeout=30)
    (out / "metadata.json").write_text('{"other": 1}')
    tracker.begin(out, "checkpoint", asset_id)
    (resumed,) = chronicle.resume_uploads(tracker)
    with pytest.raises(UploadError, match="has changed since"):
        resumed.result(timeout=30)


def test_a_folder_that_is_not_there_is_refused_at_once(
    chronicle: Chronicle, tmp_path: Path
) -> None:
    with pytest.raises(UploadError, match="is no folder"):
        chronicle._background.begin(FolderUpload(tmp_path / "nowhere", "checkpoint"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UploadError, match="has no files"):
        chronicle._background.begin(FolderUpload(tmp_path / "empty", "checkpoint")).result(30)


def test_review_comes_before_ready(chronicle: Chronicle) -> None:
    first, second = (
        chronicle.assets.create_inline(
            "takeaways_report", {"n": number}, pending_reasons=["review_required"]
        ).asset
        for number in range(2)
    )
    assert first.state == "pending"
    assert {first.id, second.id} <= {each.id for each in chronicle.assets.review_queue()}
    assert chronicle.assets.approve(first.id).asset.state == "ready"
    with pytest.raises(ConflictError, match="not awaiting review") as caught:
        chronicle.assets.approve(first.id)
    assert caught.value.status == 409
    outcomes = chronicle.assets.bulk_approve([first.id, second.id])
    assert [each.approved for each in outcomes] == [False, True]
    third = chronicle.assets.create_inline("x", 1, pending_reasons=["review_required"]).asset
    assert chronicle.assets.reject(third.id, reason="no").asset.state == "abandoned"


def test_what_is_wrong_is_told_with_its_field(chronicle: Chronicle) -> None:
    with pytest.raises(InvalidRequestError) as wrong:
        chronicle.assets.create_with_presigned("checkpoint", ["../x"])
    assert "components" in wrong.value.field
    with pytest.raises(TooLargeError):
        chronicle.assets.create_inline("x", "a" * (3 << 20), content_type="text/plain")
    with pytest.raises(NotFoundError) as missing:
        chronicle.assets.get("01a22801-526b-79a9-8378-bce9852ea8c9")
    assert missing.value.code == "asset_not_found"
    made = chronicle.assets.create_inline("x", 1).asset
    gone = chronicle.assets.delete(made.id)
    assert gone.inline_removed == 1
    with pytest.raises(NotFoundError):
        chronicle.assets.delete(made.id)


def test_threads_share_a_client(chronicle: Chronicle) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda number: chronicle.assets.create_inline("shared", number).asset.id, range(40)
            )
        )
    assert {each.id for each in chronicle.assets.iter(asset_type="shared", page_size=7)} == {*made}


def test_a_server_that_is_not_there_is_named_with_the_mend() -> None:
    with (
        Chronicle(f"http://127.0.0.1:{free_port()}", "k", timeout=2) as nobody,
        pytest.raises(ServerUnavailableError, match="is it running"),
    ):
        nobody.assets.create_inline("x", 1)
