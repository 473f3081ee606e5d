"""Where documents lie, and where S3 is: the settings that name places."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from asgard_server.settings.errors import SettingError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"(?:(https?)://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")


@dataclass(frozen=True, slots=True)
class S3Prefix:
    """A bucket, and what the keys in it begin with; an empty prefix is all of the bucket."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        """Write it as it is given: s3://bucket/prefix."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


Storage: TypeAlias = Path | S3Prefix


def storage(name: str, text: str) -> Storage:
    """Read a folder, or s3://bucket/prefix."""
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc):
        raise SettingError(name, f"is {text!r}", "give a folder, or s3://bucket/prefix")
    return S3Prefix(parts.netloc, parts.path.strip("/"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of an S3 store. `secure` None: it was given without http:// or https://."""

    address: str
    secure: bool | None

    def __str__(self) -> str:
        """Write it as it was given, without a slash at its end."""
        scheme = {None: "", True: "https://", False: "http://"}[self.secure]
        return f"{scheme}{self.address}"

    def url(self, secure: bool) -> str:
        """Make the address to call; `secure` decides where the setting itself does not."""
        chosen = secure if self.secure is None else self.secure
        return f"{'https' if chosen else 'http'}://{self.address}"

    def agrees(self, other: Endpoint) -> bool:
        """Say whether both may be meant for one store."""
        return self.address == other.address and (
            None in (self.secure, other.secure) or self.secure == other.secure
        )


def endpoint(name: str, text: str) -> Endpoint:
    """Read http://host:port, https://host:port or host:port."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise SettingError(
            name, f"is {text!r}", "give an address like http://localhost:9000 or localhost:9000"
        )
    scheme, host, port = found.groups()
    return Endpoint(f"{host}:{port}" if port else host, None if not scheme else scheme == "https")
