"""What a process is told by its environment and its command line: the variables `ASGARD_*`."""

from __future__ import annotations

from asgard_server.settings.errors import SettingError
from asgard_server.settings.places import S3Prefix, Storage
from asgard_server.settings.table import Durability, Settings

__all__ = ["Durability", "S3Prefix", "SettingError", "Settings", "Storage"]
