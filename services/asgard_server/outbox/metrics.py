"""What Prometheus is told of what crosses to other services."""

from __future__ import annotations

from prometheus_client import Counter

DELIVERED = Counter(
    "asgard_outbox_delivered",
    "What was to be done in other services: done, or failed and to be tried again.",
    ["kind", "outcome"],
)


def known(kind: str) -> None:
    """Show a kind as 0 from the start: a rate needs a first value."""
    for outcome in ("done", "failed"):
        DELIVERED.labels(kind, outcome)
