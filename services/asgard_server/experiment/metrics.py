"""What Prometheus is told of runs of variations."""

from __future__ import annotations

from prometheus_client import Counter

ENDED = Counter("asgard_variation_runs_ended", "Runs of variations that ended.", ["how"])
for _how in ("succeeded", "failed_crash", "failed_abandoned", "failed_lost"):
    ENDED.labels(_how)
