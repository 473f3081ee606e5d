"""What Prometheus is told of runs and of what is known of them."""

from __future__ import annotations

from prometheus_client import Gauge

INDEX_FULL = Gauge(
    "asgard_index_full", "1 while there is no room to index what was written or deleted, else 0."
)
