"""What Prometheus is told of jobs. Registered once per process."""

from __future__ import annotations

from prometheus_client import Counter

CLAIMED = Counter("asgard_jobs_claimed", "Claims of jobs that were granted.")
ENDED = Counter(
    "asgard_jobs_ended",
    "Jobs that have left their worker: files delivered, failed by it, or lost with it.",
    ["outcome"],
)
REPORTS = Counter(
    "asgard_job_reports",
    "Attempts to write a report: written, to be tried again, or failed for good.",
    ["outcome"],
)
DELETED = Counter("asgard_jobs_deleted", "Jobs deleted by their owners.")

# Shown as 0 from the start: a rate needs a first value.
for _outcome in ("delivered", "failed", "lost"):
    ENDED.labels(_outcome)
for _outcome in ("written", "again", "failed"):
    REPORTS.labels(_outcome)
