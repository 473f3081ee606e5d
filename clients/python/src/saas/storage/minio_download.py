"""The documented path of what reads artifacts and writes the report."""

from __future__ import annotations

from simswarm.storage.artifacts import ArtifactMissingError, fetch_artifact, put_report_md

__all__ = ["ArtifactMissingError", "fetch_artifact", "put_report_md"]
