"""A storage folder: runs, results and arrays that many processes write at once."""

from __future__ import annotations

from gimle.asgard.core.folder.creating import CreatedRun
from gimle.asgard.core.folder.folder import Durability, Folder
from gimle.asgard.core.folder.fsck import Finding, Report

__all__ = ["CreatedRun", "Durability", "Finding", "Folder", "Report"]
