"""What Prometheus is told of calls and watchers. Registered once per process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# A small create takes half a millisecond, a rendering of ten million points a tenth of a second.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

CALLS = Counter("asgard_rpc_calls", "Calls that have ended.", ["method", "code"])
CALL_SECONDS = Histogram(
    "asgard_rpc_call_seconds",
    "How long unary calls took.",
    ["method"],
    buckets=_SECONDS,
)
STREAMS = Gauge("asgard_rpc_open_streams", "Streams that are open now.", ["method"])
WATCHERS = Gauge("asgard_watch_subscribers", "Watchers that are connected now.", ["log"])
WATCH_LAG = Gauge(
    "asgard_watch_lag_revisions",
    "Revisions of the change log that have not been handed to watchers yet.",
    ["log"],
)
DROPPED_WATCHERS = Counter(
    "asgard_watch_dropped_readers", "Watchers ended because they read too slowly.", ["log"]
)
