"""The documented path of what makes upload and download URLs."""

from __future__ import annotations

from simswarm.storage.sim_data import (
    DOWNLOAD_EXPIRY,
    SIM_DATA_FILES,
    UPLOAD_EXPIRY,
    SimDataStorage,
)

__all__ = ["DOWNLOAD_EXPIRY", "SIM_DATA_FILES", "UPLOAD_EXPIRY", "SimDataStorage"]
