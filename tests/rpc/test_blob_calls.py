"""BlobService as clients see it: gRPC and REST of a real monitor, and URLs that it serves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.conftest import Monitor

BODY = b"bytes of a simulation" * 1_000
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def monitor(start_monitor: Callable[..., Monitor], tmp_path: Path) -> Monitor:
    return start_monitor(tmp_path / "storage")


@pytest.fixture
def stub(monitor: Monitor) -> Iterator[pb_grpc.BlobServiceStub]:
    with grpc.insecure_channel(monitor.grpc) as channel:
        yield pb_grpc.BlobServiceStub(channel)


def upload(stub: pb_grpc.BlobServiceStub, name: str) -> pb.Blob:
    new = pb.NewUpload(name=name, size_bytes=len(BODY), sha256=SHA, content_type="text/plain")
    begun = stub.CreateUploads(pb.CreateUploadsRequest(uploads=[new])).uploads[0]
    sent = httpx.put(begun.put.url, content=BODY, headers={"content-type": "text/plain"})
    assert sent.status_code == 200, sent.text
    item = pb.CompleteUploadsRequest.Item(blob_id=begun.blob.blob_id)
    done = stub.CompleteUploads(pb.CompleteUploadsRequest(uploads=[item])).outcomes[0]
    assert done.WhichOneof("outcome") == "blob", done
    return done.blob


def reason(error: Any) -> str:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return str(info.reason)


def test_bytes_go_through_granted_urls_and_are_seen_over_rest(
    stub: pb_grpc.BlobServiceStub, monitor: Monitor
) -> None:
    blob = upload(stub, "run-7/log.txt")
    assert blob.sha256 == SHA
    assert blob.sha256_verified
    listed = httpx.get(f"{monitor.url}/v1/blobs?name_prefix=run-7/").json()
    assert [one["name"] for one in listed["blobs"]] == ["run-7/log.txt"]
    assert listed["blobs"][0]["state"] == "ready"
    asked = {"downloads": [{"blob_id": "name:run-7/log.txt", "save_as": "log.txt"}]}
    lent = httpx.post(f"{monitor.url}/v1/blobs:download", json=asked).json()["downloads"][0]
    answer = httpx.get(lent["grant"]["url"])
    assert answer.content == BODY
    assert answer.headers["content-type"].startswith("text/plain")
    assert "sandbox" in answer.headers["content-security-policy"]
    part = httpx.get(lent["grant"]["url"], headers={"range": "bytes=6-7"})
    assert (part.status_code, part.content) == (206, BODY[6:8])


def test_a_restart_forgets_nothing(
    start_monitor: Callable[..., Monitor], monitor: Monitor, stub: pb_grpc.BlobServiceStub
) -> None:
    blob = upload(stub, "kept")
    begun = stub.CreateUploads(
        pb.CreateUploadsRequest(uploads=[pb.NewUpload(name="later", size_bytes=1, sha256=SHA)])
    ).uploads[0]
    monitor.stop()
    again = start_monitor(monitor.storage)
    with grpc.insecure_channel(again.grpc) as channel:
        after = pb_grpc.BlobServiceStub(channel)
        assert after.GetBlob(pb.GetBlobRequest(blob_id=blob.blob_id)).blob == blob
        request = pb.RenewUploadsRequest(blob_ids=[begun.blob.blob_id])
        url = httpx.URL(after.RenewUploads(request).uploads[0].put.url)
        assert url.port == httpx.URL(again.url).port


def test_a_folder_that_is_only_looked_at_stays_as_it_was(
    monitor: Monitor, stub: pb_grpc.BlobServiceStub
) -> None:
    made = [monitor.storage / name for name in ("asgard.sqlite3", ".asgard/uploads", "blobs")]
    assert httpx.get(f"{monitor.url}/v1/blobs").json()["blobs"] == []
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetBlob(pb.GetBlobRequest(blob_id="none"))
    assert reason(refused.value) == "BLOB_NOT_FOUND"
    assert [path.name for path in made if path.exists()] == []
    blob = upload(stub, "first")
    assert all(path.exists() for path in made)
    assert stub.GetBlob(pb.GetBlobRequest(blob_id=blob.blob_id)).blob == blob
    assert len(httpx.get(f"{monitor.url}/v1/blobs").json()["blobs"]) == 1


def test_pages_of_blobs_follow_each_other(stub: pb_grpc.BlobServiceStub) -> None:
    for number in range(5):
        stub.WriteBlob(pb.WriteBlobRequest(name=f"n/{number}", body=b"x"))
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListBlobsRequest(name_prefix="n/", page_size=2, page_token=token)
        page = stub.ListBlobs(request)
        seen += [blob.name for blob in page.blobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"n/{number}" for number in range(5)]
    with pytest.raises(grpc.RpcError) as refused:
        stub.ListBlobs(pb.ListBlobsRequest(name_prefix="other", page_token="bm8"))
    assert reason(refused.value) == "PAGE_TOKEN_MISMATCH"


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        ("GetBlob", pb.GetBlobRequest(blob_id="none"), "BLOB_NOT_FOUND"),
        ("DeleteBlob", pb.DeleteBlobRequest(blob_id="none"), "BLOB_NOT_FOUND"),
        ("CreateUploads", pb.CreateUploadsRequest(), "INVALID_FIELD"),
        ("DeleteBlobs", pb.DeleteBlobsRequest(), "INVALID_FIELD"),
        ("ClaimBlobs", pb.ClaimBlobsRequest(blob_ids=["x"], owner="?"), "INVALID_FIELD"),
        ("WriteBlob", pb.WriteBlobRequest(body=b"x" * (5 << 20)), "BLOB_TOO_LARGE"),
        ("ListBlobs", pb.ListBlobsRequest(page_size=-1), "INVALID_FIELD"),
    ],
)
def test_bad_requests_say_why(
    stub: pb_grpc.BlobServiceStub, method: str, request_: object, expected: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(stub, method)(request_)
    assert reason(refused.value) == expected


def test_what_is_tried_with_uploads_has_its_documented_reason(
    stub: pb_grpc.BlobServiceStub,
) -> None:
    large = pb.NewUpload(name="large", size_bytes=65 << 20, sha256=SHA)
    plain = pb.NewUpload(name="plain", size_bytes=5 * 10**9 + 1, plain=True)
    odd = pb.NewUpload(name="a/../b", size_bytes=1, sha256=SHA)
    begun = stub.CreateUploads(pb.CreateUploadsRequest(uploads=[large])).uploads[0]
    blob_id = begun.blob.blob_id
    part = pb.SignPartsRequest.Part(number=10_001, sha256=SHA)
    tried: list[tuple[Any, Any, str]] = [
        (stub.CreateUploads, pb.CreateUploadsRequest(uploads=[plain]), "INVALID_FIELD"),
        (stub.CreateUploads, pb.CreateUploadsRequest(uploads=[odd]), "INVALID_FIELD"),
        (stub.SignParts, pb.SignPartsRequest(blob_id=blob_id, parts=[part]), "INVALID_FIELD"),
    ]
    for call, request, expected in tried:
        with pytest.raises(grpc.RpcError) as refused:
            call(request)
        assert reason(refused.value) == expected
    item = pb.CompleteUploadsRequest.Item(blob_id=blob_id)
    outcome = stub.CompleteUploads(pb.CompleteUploadsRequest(uploads=[item])).outcomes[0]
    assert outcome.problem.reason == "UPLOAD_INCOMPLETE"
    stub.AbortUploads(pb.AbortUploadsRequest(blob_ids=[blob_id]))
    part.number = 1
    with pytest.raises(grpc.RpcError) as refused:
        stub.SignParts(pb.SignPartsRequest(blob_id=blob_id, parts=[part]))
    assert reason(refused.value) in ("BLOB_NOT_FOUND", "UPLOAD_ENDED")


@pytest.mark.parametrize(
    "path",
    [
        "bytes/blobs/x/1",
        "bytes/blobs/x/1?signature=00",
        "bytes/blobs/%2e%2e/1?expires=9999999999&signature=00",
    ],
)
def test_urls_that_nobody_signed_are_refused(monitor: Monitor, path: str) -> None:
    for method in ("GET", "PUT"):
        answer = httpx.request(
            method, f"{monitor.url}/{path}", content=b"x" if method == "PUT" else None
        )
        assert answer.status_code in (403, 404, 405), answer.status_code
