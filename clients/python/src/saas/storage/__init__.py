"""The import paths of SimSwarm's storage page; what they name lives in `simswarm.storage`."""

from __future__ import annotations
