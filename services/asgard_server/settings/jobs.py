"""Rows of the table of settings that say how SimSwarm's jobs are kept."""

from __future__ import annotations

from asgard_server.settings import parsing, places
from asgard_server.settings.rows import row

MINIO_ENDPOINT = row(
    places.endpoint,
    "Whether there are files of SimSwarm's jobs, and where: the store's `host:port`. Its "
    "keys are ASGARD_S3_ACCESS_KEY's or MINIO_ACCESS_KEY's, and so on.",
    services="blob all",
    usually="unset: `/api/jobs/{job_id}/sim-data` says that no store is configured",
    called="MINIO_ENDPOINT",
)
MINIO_BUCKET = row(
    parsing.text,
    "The bucket of MINIO_ENDPOINT that holds them, below `sim-data/`. It must be there.",
    services="blob all",
    called="MINIO_BUCKET",
)
SIM_DATA = row(
    parsing.one_of("store", "local"),
    "`local` keeps the files of SimSwarm's jobs in the folder of ASGARD_STORAGE, whatever "
    "MINIO_ENDPOINT says; this server then takes and gives them itself.",
    services="all",
    usually="store: as MINIO_ENDPOINT says",
)
REPORT_RUNNER = row(
    parsing.text,
    "Who writes the report of a job: `module:name` of a function that is called with the "
    "job, a fetch and a put (docs/simswarm.md).",
    services="blob all",
    usually="unset: a plain Markdown report",
)
MAX_SEED_CHARS = row(
    parsing.whole(1),
    "Characters that the seed text of a job may have.",
    services="blob all",
    instead="MAX_SEED_CHARS",
)
DEMO_MODE = row(
    parsing.yes_or_no,
    "Make no jobs: this server shows those that are there.",
    services="blob all",
    instead="DEMO_MODE",
)
