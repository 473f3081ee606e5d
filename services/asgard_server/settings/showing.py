"""Effective settings as `asgard config` prints them: what holds, where it came from, no secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asgard_server.settings.parsing import HIDDEN, without_passwords
from asgard_server.settings.reading import Effective
from asgard_server.settings.rows import Row
from asgard_server.settings.table import ROWS


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting. `value` None: unset, and `usually` says what then holds.

    `source` is `default`, or the variable or option that set it.
    """

    variable: str
    value: Any
    usually: str
    source: str


def shown(effective: Effective) -> list[Shown]:
    """All settings in the order of the table, secrets hidden."""
    return [
        Shown(
            row.variable,
            _presentable(row, getattr(effective.settings, name)),
            row.usually,
            effective.sources.get(name, "default"),
        )
        for name, row in ROWS.items()
    ]


def _presentable(row: Row, value: Any) -> Any:
    """A value as JSON has it: what is no number and no truth value as it would be given."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if row.hidden == "whole":
        return HIDDEN
    if isinstance(value, tuple):
        return ",".join(value)
    return without_passwords(str(value)) if row.hidden == "passwords" else str(value)
