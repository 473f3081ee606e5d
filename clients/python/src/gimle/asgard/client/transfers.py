"""Large arrays on their way, as their author is told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far the arrays of one save or read have come.

    id: the result, or the run that is saved with its results. done, total: bytes; a transfer
    that is broken off begins again at 0.
    """

    direction: Literal["up", "down"]
    id: str
    done: int
    total: int


Progress: TypeAlias = Callable[[Transfer], None]
"""Is told of each step of a transfer above 1 MiB, in the thread that saves or reads."""
