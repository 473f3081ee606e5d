"""What Prometheus is told of what crosses to other services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Counter, Gauge

DELIVERED = Counter(
    "asgard_outbox_delivered",
    "What was to be done in other services: done, failed and to be tried again, or refused "
    "for good and set aside.",
    ["kind", "outcome"],
)

ASIDE = Gauge(
    "asgard_outbox_aside",
    "What other services have refused for good: somebody is to look, by `asgard outbox`.",
    ["kind"],
)


def known(kind: str) -> None:
    """Show a kind as 0 from the start: a rate needs a first value."""
    for outcome in ("done", "failed", "set_aside"):
        DELIVERED.labels(kind, outcome)


def count_aside(counts: Mapping[str, int], kinds: Iterable[str]) -> None:
    """Tell how many are set aside: of what is no longer there 0."""
    for kind in {*kinds, *counts}:
        ASIDE.labels(kind).set(counts.get(kind, 0))
