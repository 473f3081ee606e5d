"""Where the server is and who asks: keyword arguments, then the environment, then YAML files.

The files are `~/.methodic/config.yaml` and then `~/.methodic/credentials.yaml`, or the one that
CHRONICLE_CONFIG names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from methodic.errors import ChronicleConfigError

DEFAULT_SERVER = "http://localhost:8000"

_VARIABLES = {
    "server_url": "CHRONICLE_SERVER_URL",
    "api_key": "CHRONICLE_API_KEY",
    "timeout": "CHRONICLE_TIMEOUT",
    "max_upload_workers": "CHRONICLE_MAX_UPLOAD_WORKERS",
    "organization_id": "CHRONICLE_ORGANIZATION_ID",
    "organization_slug": "CHRONICLE_ORGANIZATION_SLUG",
}


@dataclass(frozen=True, slots=True)
class Config:
    """How a client is set up. `timeout` in seconds, for each request."""

    server_url: str = DEFAULT_SERVER
    api_key: str = ""
    timeout: float = 30
    max_upload_workers: int = 2
    organization_id: str | None = None
    organization_slug: str | None = None

    def checked(self) -> Config:
        """This, if it can be used. Raises ChronicleConfigError."""
        if not self.api_key:
            raise ChronicleConfigError(
                "there is no API key: give api_key=, or set CHRONICLE_API_KEY (any text does for a "
                "store on this machine; `asgard keys create` makes one for a server)"
            )
        if not self.server_url.startswith(("http://", "https://")):
            raise ChronicleConfigError(
                f"server_url is {self.server_url!r}: it begins with http:// or https://"
            )
        if self.timeout <= 0 or self.max_upload_workers < 1:
            raise ChronicleConfigError("timeout and max_upload_workers are more than 0")
        if self.organization_id and self.organization_slug:
            raise ChronicleConfigError(
                "organization_id and organization_slug are both given: leave one out"
            )
        return self


def of_environment(given: Mapping[str, Any]) -> Config:
    """What is given, then the environment, then the files. Raises ChronicleConfigError."""
    found = _of_files(None)
    found |= {
        name: os.environ[variable]
        for name, variable in _VARIABLES.items()
        if os.environ.get(variable)
    }
    return _made(_without_the_other_scope(found, given))


def of_file(path: str | os.PathLike[str] | None, given: Mapping[str, Any]) -> Config:
    """What is given, then a file (the usual ones when None). Raises ChronicleConfigError."""
    return _made(_without_the_other_scope(_of_files(path), given))


def _without_the_other_scope(found: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, overruled by what is given: one kind of scope there hides the other here."""
    kinds = {"organization_id", "organization_slug"}
    if kinds & given.keys():
        found = {name: value for name, value in found.items() if name not in kinds}
    return found | {name: value for name, value in given.items() if value is not None}


def _of_files(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    home = Path.home() / ".methodic"
    named = path or os.environ.get("CHRONICLE_CONFIG")
    if named is None:
        usual = [home / "config.yaml", home / "credentials.yaml"]
        return {k: v for each in usual if each.exists() for k, v in _read(each).items()}
    return _read(Path(named).expanduser())


def _read(path: Path) -> dict[str, Any]:
    import yaml  # not before: most clients are told by their environment

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ChronicleConfigError(f"{path} cannot be read: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ChronicleConfigError(f"{path} is no YAML of names and values")
    known = {each.name for each in fields(Config)}
    return {str(name): value for name, value in found.items() if name in known}


def _made(found: Mapping[str, Any]) -> Config:
    kinds = get_type_hints(Config)
    values: dict[str, Any] = {}
    for name, value in found.items():
        if name not in kinds:
            known = ", ".join(sorted(kinds))
            raise ChronicleConfigError(f"there is no setting {name!r}; there are {known}")
        try:
            values[name] = kinds[name](value) if kinds[name] in (int, float) else value
        except (TypeError, ValueError):
            raise ChronicleConfigError(f"{name} is {value!r}, which is no number") from None
    return Config(**values).checked()
