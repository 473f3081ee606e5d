"""Runs and results, as the author of a simulation saves and reads them."""

from __future__ import annotations
