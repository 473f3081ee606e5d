"""From the environment and the command line to settings, remembering where each came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard_server.settings.errors import SettingError
from asgard_server.settings.rows import Row
from asgard_server.settings.table import ROWS, Settings

# What programs that call a server read, perhaps in the same shell.
_OF_CLIENTS = frozenset({"ASGARD_API_KEY", "ASGARD_IDENTITY_SERVER"})

# What Kubernetes puts into the environment for each Service of a namespace.
_LINK = re.compile(r"ASGARD(_.*)?(_SERVICE_(HOST|PORT.*)|_PORT(_[0-9]+_(TCP|UDP).*)?)")


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings, and for each that is not at its default the variable or option that set it."""

    settings: Settings
    sources: Mapping[str, str]


def read(environ: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Effective:
    """Read `ASGARD_*` of `environ`, what they fall back to, and what is given and not None.

    An empty variable counts as unset. Raises `SettingError`.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for variable in sorted(environ):
        if variable in _OF_CLIENTS:
            continue
        if variable.startswith("ASGARD_") and environ[variable]:
            row = ROWS.get(variable.removeprefix("ASGARD_").lower())
            if row is None or row.variable != variable:
                raise SettingError(variable, "is not a setting of this server", _nearest(variable))
    for name, row in ROWS.items():
        option = (given or {}).get(name)
        if option is not None:
            values[name], sources[name] = row.parse(row.option, _as_text(option)), row.option
            continue
        found = _from_environment(row, environ)
        if found is not None:
            sources[name], values[name] = found
    return Effective(Settings(**values).checked(), sources)


def _from_environment(row: Row, environ: Mapping[str, str]) -> tuple[str, Any] | None:
    """The variable that sets a row, and its value; None when none does."""
    named = [name for name in (row.variable, row.instead) if name and environ.get(name)]
    found = [(name, _parsed(row, name, environ[name])) for name in named]
    if len(found) == 2 and not row.agree(found[0][1], found[1][1]):
        (name, value), (other, theirs) = found
        said = f"is {value}, and {other} is {theirs}"
        if row.hidden:
            said = f"and {other} differ"
        raise SettingError(name, said, "set one of them, or both to the same")
    return found[0] if found else None


def _parsed(row: Row, name: str, text: str) -> Any:
    try:
        return row.parse(name, text)
    except SettingError as error:
        if text.startswith(("tcp://", "udp://")) and _LINK.fullmatch(name):
            raise SettingError(name, f"is {text!r}", _UNLINK) from error
        raise


def _as_text(option: Any) -> str:
    if isinstance(option, bool):
        return str(option).lower()
    return str(Path(option)) if isinstance(option, Path) else str(option)


_UNLINK = (
    "it is the link to a Service that Kubernetes adds: set enableServiceLinks: false in the pod"
)


def _nearest(variable: str) -> str:
    if _LINK.fullmatch(variable):
        return _UNLINK
    known = [row.variable for row in ROWS.values()]
    close = difflib.get_close_matches(variable, known, n=1)
    if close:
        return f"{close[0]} is one; unset it if it is not meant for Asgard"
    return f"those are {', '.join(known)}"
