"""SimSwarm: what its simulations leave behind, and how it moves."""

from __future__ import annotations
