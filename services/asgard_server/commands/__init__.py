"""The server's commands of the SDK's `asgard`, found by their entry points."""

from __future__ import annotations

from asgard_server.commands.serving import monitor, serve
from asgard_server.commands.upkeep import config, migrate, reindex

__all__ = ["config", "migrate", "monitor", "reindex", "serve"]
