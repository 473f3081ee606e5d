"""The import paths of SimSwarm's documents; what they name lives in `simswarm`."""

from __future__ import annotations
