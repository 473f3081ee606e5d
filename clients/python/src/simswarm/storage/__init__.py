"""The artifacts of SimSwarm's simulations in an object store.

A job's files lie under `sim-data/<job_id>/`. A GPU pod uploads them and a browser downloads them by
presigned URL; the report task reads and writes them in its own process.
"""

from __future__ import annotations

from simswarm.storage.artifacts import (
    ArtifactMissingError,
    ArtifactStore,
    fetch_artifact,
    put_report_md,
)
from simswarm.storage.sim_data import (
    DOWNLOAD_EXPIRY,
    SIM_DATA_FILES,
    UPLOAD_EXPIRY,
    SimDataStorage,
)

__all__ = [
    "DOWNLOAD_EXPIRY",
    "SIM_DATA_FILES",
    "UPLOAD_EXPIRY",
    "ArtifactMissingError",
    "ArtifactStore",
    "SimDataStorage",
    "fetch_artifact",
    "put_report_md",
]
