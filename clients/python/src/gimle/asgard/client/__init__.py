"""Storages that are reached through RunService: its channel, its errors, its home."""

from __future__ import annotations
