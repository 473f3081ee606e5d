"""Paths of what is asked of the server."""

from __future__ import annotations

from urllib.parse import quote


def asset(asset_id: str) -> str:
    """The path of an asset."""
    return f"/v1/assets/{quoted(asset_id)}"


def experiment(experiment_id: str) -> str:
    """The path of an experiment."""
    return f"/v1/experiments/{quoted(experiment_id)}"


def variation(experiment_id: str, number: int) -> str:
    """The path of a variation."""
    return f"{experiment(experiment_id)}/variations/{number:d}"


def run(experiment_id: str, variation_number: int, number: int) -> str:
    """The path of a run."""
    return f"{variation(experiment_id, variation_number)}/runs/{number:d}"


def quoted(part: str, safe: str = "") -> str:
    """A part of a path, whatever is in it."""
    return quote(str(part), safe=safe)
