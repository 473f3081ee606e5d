"""What Prometheus is told of the bell."""

from __future__ import annotations

from prometheus_client import Gauge

from asgard_server.histograms import Histogram

BELL_DELAY = Histogram(
    "asgard_bell_delay_seconds",
    "From a ring to its being heard: in this process, or by way of Redis and back.",
)
BELL_UP = Gauge("asgard_bell_up", "1 while the bell reaches the other replicas, else 0.")
