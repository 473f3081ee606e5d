"""What Prometheus is told of assets. Registered once per process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gimle.asgard.core.asset_errors import AssetIncompleteError, AssetStateError
from gimle.asgard.core.errors import DigestMismatchError
from prometheus_client import Counter

# Why an asset was not finalized.
_OUTCOMES: dict[type[Exception], str] = {
    AssetIncompleteError: "incomplete",
    DigestMismatchError: "different",
    AssetStateError: "abandoned",
}

CREATED = Counter("asgard_asset_created", "Assets that were created, or asked for again.", ["kind"])
FINALIZED = Counter("asgard_asset_finalized", "Finalizations that were answered.", ["outcome"])
REVIEWED = Counter("asgard_asset_reviewed", "Reviews that were answered.", ["outcome"])
DELETED = Counter("asgard_asset_deleted", "Assets that were deleted.")
ABANDONED = Counter("asgard_asset_abandoned", "Pending assets that the sweeper has given up.")
RELEASED = Counter("asgard_asset_released", "Abandoned assets whose bytes were let go.")

# Shown as 0 from the start: a rate needs a first value.
for _kind in ("inline", "components", "reference"):
    CREATED.labels(_kind)
for _outcome in ("ready", "awaits_review", *_OUTCOMES.values()):
    FINALIZED.labels(_outcome)
for _outcome in ("approved", "rejected"):
    REVIEWED.labels(_outcome)


@contextmanager
def finalizing() -> Iterator[None]:
    """Count why an asset was not finalized."""
    try:
        yield
    except tuple(_OUTCOMES) as error:
        FINALIZED.labels(_OUTCOMES[type(error)]).inc()
        raise
