"""A store that has no room is told as that, by each of those who ask it."""

from __future__ import annotations

import pytest
from asgard_server.store.s3_refusals import passes, refusal
from botocore.exceptions import ClientError
from gimle.asgard.core.errors import StorageFullError, StorageUnavailableError
from gimle.asgard.core.s3.objects import translated
from gimle.asgard.core.s3.place import parse_url
from gimle.asgard.transfer.bucket import refusal as sent_refusal
from obstore.exceptions import GenericError

PLACE = parse_url("s3://bucket/prefix")

# As MinIO says it (status, code, message): once it has looked at its disks, and before.
FULL = [
    (507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
    (
        500,
        "InternalError",
        "We encountered an internal error, please try again.: cause(no space left on device)",
    ),
    (400, "QuotaExceeded", "Bucket quota exceeded"),
]
OTHER = (500, "InternalError", "We encountered an internal error, please try again.")


def document(code: str, message: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


@pytest.mark.parametrize(("status", "code", "message"), [*FULL, OTHER])
def test_want_of_room_is_told_as_that_and_nothing_else_is(
    status: int, code: str, message: str
) -> None:
    full = (status, code, message) != OTHER
    kind = StorageFullError if full else StorageUnavailableError
    by_boto3 = ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        "PutObject",
    )
    assert type(translated(PLACE, by_boto3)) is kind
    said = document(code, message)
    by_obstore = GenericError(f"Server returned error, status code: {status}: {said}")
    assert type(refusal(PLACE, by_obstore)) is kind
    assert passes(by_obstore) == (not full)
    by_url = sent_refusal("upload of large.bin", status, said.encode())
    assert (by_url.full, by_url.passing) == (full, not full)
    assert ("make room there and send it again" in str(by_url)) == full
    assert str(by_url).startswith("upload of large.bin: ")
