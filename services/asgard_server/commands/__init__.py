"""The server's commands of the SDK's `asgard`, found by their entry points."""

from __future__ import annotations

from asgard_server.commands.blob_init import blob_init
from asgard_server.commands.fsck import fsck
from asgard_server.commands.keys_init import keys_init
from asgard_server.commands.outbox import outbox
from asgard_server.commands.serving import monitor, serve
from asgard_server.commands.upkeep import config, migrate, reindex

__all__ = [
    "blob_init",
    "config",
    "fsck",
    "keys_init",
    "migrate",
    "monitor",
    "outbox",
    "reindex",
    "serve",
]
