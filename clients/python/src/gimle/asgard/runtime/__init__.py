"""Evaluating circuits as power series, and honest numerical solvers for everything else."""

from __future__ import annotations
