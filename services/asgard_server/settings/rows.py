"""What the table of settings says of each one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from asgard_server.settings import parsing

Hidden = Literal["", "whole", "passwords"]


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, as the table describes it.

    `services` says who heeds it. `usually` is the default in words, where its value does not
    say enough. `hidden` says what of the value is never shown. `instead` names the variable
    that is heeded where this one is not set, and `agree` says whether the values of both mean
    the same. `called` is the variable's name where that is not made of the setting's: those of
    SimSwarm are read as they are documented.
    """

    name: str
    default: Any
    parse: parsing.Parse
    help: str
    services: tuple[str, ...]
    usually: str
    hidden: Hidden
    instead: str
    agree: Callable[[Any, Any], bool]
    called: str

    @property
    def variable(self) -> str:
        """The variable of the environment."""
        return self.called or f"ASGARD_{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option of the command line, where it has one."""
        return "--" + self.name.replace("_", "-")


def _same(one: object, other: object) -> bool:
    return one == other


def row(
    parse: parsing.Parse,
    help: str,
    *,
    services: str = "run asset blob gateway all",
    usually: str = "",
    hidden: Hidden = "",
    instead: str = "",
    agree: Callable[[Any, Any], bool] = _same,
    called: str = "",
) -> dict[str, Any]:
    """The metadata of a field of `Settings`: a `Row` without name and default."""
    return {
        "parse": parse,
        "help": help,
        "services": tuple(services.split()),
        "usually": usually,
        "hidden": hidden,
        "instead": instead,
        "agree": agree,
        "called": called,
    }
