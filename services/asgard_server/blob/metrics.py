"""What Prometheus is told of blobs. Registered once per process."""

from __future__ import annotations

from collections.abc import Sequence

from gimle.asgard.core.errors import (
    DigestMismatchError,
    NotFoundError,
    UploadEndedError,
    UploadIncompleteError,
)
from prometheus_client import Counter

from asgard_server.blob.domain import Blob

# Why an upload was not completed.
_OUTCOMES: dict[type[Exception], str] = {
    UploadIncompleteError: "incomplete",
    DigestMismatchError: "different",
    UploadEndedError: "ended",
    NotFoundError: "unknown",
}

UPLOADS = Counter("asgard_blob_uploads", "Completions of uploads that were answered.", ["outcome"])
SWEPT = Counter("asgard_blob_swept", "Blobs of which nothing is left, forgotten by the sweeper.")

# Shown as 0 from the start: a rate needs a first value.
for _outcome in ("ready", *_OUTCOMES.values()):
    UPLOADS.labels(_outcome)


def count_uploads(answers: Sequence[Blob | Exception]) -> None:
    """Count what CompleteUploads answers of each upload."""
    for answer in answers:
        outcome = "ready" if isinstance(answer, Blob) else _OUTCOMES[type(answer)]
        UPLOADS.labels(outcome).inc()
