"""A cache on disk against the bucket: every byte read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gimle.asgard.models.layout import folder_of
from gimle.asgard.models.pulling import stored_models
from gimle.asgard.models.seeds import forget_whole
from gimle.asgard.transfer import Bucket
from gimle.asgard.transfer.checking import holds


@dataclass(frozen=True, slots=True)
class Checked:
    """A file of a snapshot: `problem` is "" when it has the store's own bytes."""

    id: str
    path: str
    size: int
    problem: str


def verify(bucket: Bucket, cache: Path, id: str | None = None) -> Iterator[Checked]:
    """Compare every file of one model, or of all that the cache has, with the bucket's digests.

    Of a snapshot in which one is wrong the next pull compares all bytes, and fetches those anew.
    A model of which the cache has no snapshot is passed over unless it was named.
    Raises NotFoundError for a model that the bucket lacks, TransferError, OSError.
    """
    for model in stored_models(bucket, id).values():
        folder = cache / folder_of(model.id) / "snapshots"
        if id is None and not folder.is_dir():
            continue
        for snapshot in model.snapshots.values():
            if id is None and not (folder / snapshot.hash).is_dir():
                continue
            for inside, stored in snapshot.files.items():
                path = f"{snapshot.hash}/{inside}"
                problem = _problem(bucket, stored.key, stored.size, folder / path)
                if problem:
                    forget_whole(folder / snapshot.hash)
                yield Checked(model.id, path, stored.size, problem)


def _problem(bucket: Bucket, key: str, size: int, path: Path) -> str:
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != size:
        return f"has {path.stat().st_size:,} bytes instead of {size:,}"
    digest = bucket.head(key).digest
    if digest is not None and not holds(path, digest):
        return "has other bytes"
    return ""
