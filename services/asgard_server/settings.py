"""The settings of the embedded server: `ASGARD_*` variables, then the command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

Durability = Literal["durable", "relaxed"]


class SettingError(ValueError):
    """A setting that cannot be used. Says which, and its mend."""

    def __init__(self, name: str, problem: str, mend: str) -> None:
        super().__init__(f"{name} {problem}; {mend}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Settings:
    """How `asgard monitor` and `asgard serve all` run.

    `grpc_port` None stands for 50051, or a free port where that is taken; `port` and
    `grpc_port` 0 for a free one. `drain_seconds` is how long a stop waits for calls
    that have begun. `allowed_hosts` are names the page may be called by beside
    localhost, `*` for any.
    """

    storage: Path = Path("storage")
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    durability: Durability = "durable"
    cache_seconds: float = 3.0
    drain_seconds: float = 5.0
    allowed_hosts: tuple[str, ...] = ()
    log_level: str = "warning"
    log_format: str = "text"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **given: Any) -> Settings:
        """Read `ASGARD_*` of `environ`; what is given and not None goes before it.

        Raises `SettingError` for a variable that is not known or cannot be read.
        """
        read: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith("ASGARD_"):
                continue
            name = variable.removeprefix("ASGARD_").lower()
            parse = _PARSERS.get(name)
            if parse is None:
                raise SettingError(variable, "is not a setting of this server", _nearest(name))
            read[name] = parse(variable, text)
        settings = replace(cls(), **read)
        return settings.with_values(**given)

    def with_values(self, **given: Any) -> Settings:
        """These settings with those given that are not None, checked."""
        changed = replace(self, **{key: value for key, value in given.items() if value is not None})
        for name in ("port", "grpc_port"):
            number = getattr(changed, name)
            if number is not None and not 0 <= number <= 65_535:
                option = "--" + name.replace("_", "-")
                raise SettingError(option, f"is {number}", "give 1 to 65535, or 0 for a free port")
        return changed


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, _PARSERS, n=1)
    if close:
        return f"ASGARD_{close[0].upper()} is one; unset it if it is not meant for Asgard"
    return f"those are {', '.join('ASGARD_' + known.upper() for known in _PARSERS)}"


def _whole(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SettingError(variable, f"is {text!r}", "give a whole number") from None


def _seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise SettingError(variable, f"is {text!r}", "give a number of seconds, 0 or more")
    return seconds


def _one_of(*words: str) -> Callable[[str, str], str]:
    def parse(variable: str, text: str) -> str:
        if text not in words:
            raise SettingError(variable, f"is {text!r}", f"give one of {', '.join(words)}")
        return text

    return parse


def _path(variable: str, text: str) -> Path:
    if "://" in text:
        raise SettingError(
            variable, f"is {text!r}", "give a folder; this release keeps documents in folders"
        )
    return Path(text)


def _words(variable: str, text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


_PARSERS: Mapping[str, Callable[[str, str], Any]] = {
    "storage": _path,
    "host": lambda variable, text: text,
    "port": _whole,
    "grpc_port": _whole,
    "durability": _one_of("durable", "relaxed"),
    "cache_seconds": _seconds,
    "drain_seconds": _seconds,
    "allowed_hosts": _words,
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_format": _one_of("text", "json"),
}

assert set(_PARSERS) == {field.name for field in fields(Settings)}  # noqa: S101 - a row for each
