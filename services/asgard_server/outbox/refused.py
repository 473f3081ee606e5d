"""What a receiver raises that has said no, and will say no again."""

from __future__ import annotations

from gimle.asgard.core.errors import StorageUnavailableError


class RefusedError(StorageUnavailableError):
    """Another service has refused what it was told, for a reason that waiting does not change."""
