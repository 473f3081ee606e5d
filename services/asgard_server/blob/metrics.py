"""What Prometheus is told of blobs. Registered once per process."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Sequence

from gimle.asgard.core.errors import (
    DigestMismatchError,
    NotFoundError,
    UploadEndedError,
    UploadIncompleteError,
)
from prometheus_client import Counter

from asgard_server.blob.domain import Blob

# What became of an upload that was to be completed.
_OUTCOMES: dict[type[Blob | Exception], str] = {
    Blob: "ready",
    UploadIncompleteError: "incomplete",
    DigestMismatchError: "different",
    UploadEndedError: "ended",
    NotFoundError: "unknown",
}

UPLOADS = Counter("asgard_blob_uploads", "Completions of uploads that were answered.", ["outcome"])
SWEPT = Counter("asgard_blob_swept", "Blobs of which nothing is left, forgotten by the sweeper.")

# Shown as 0 from the start: a rate needs a first value.
for _outcome in _OUTCOMES.values():
    UPLOADS.labels(_outcome)


def count_uploads(answers: Sequence[Blob | Exception]) -> None:
    """Count what CompleteUploads answers of each upload."""
    for kind, count in Counted(map(type, answers)).items():
        UPLOADS.labels(_OUTCOMES[kind]).inc(count)
