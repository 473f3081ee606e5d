"""Copying runs from one home to another: a folder, a prefix in S3, a service."""

from __future__ import annotations

from gimle.asgard.monitor.copy.copier import Copier, check_apart
from gimle.asgard.monitor.copy.report import Problem, Report

__all__ = ["Copier", "Problem", "Report", "check_apart"]
