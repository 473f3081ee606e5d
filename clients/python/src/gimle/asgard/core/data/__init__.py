"""Core storage: any Serialisable object under a type and a name."""

from __future__ import annotations
