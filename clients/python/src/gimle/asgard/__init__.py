"""Asgard: keep what simulations produce, and watch it while it is being produced."""

from __future__ import annotations
