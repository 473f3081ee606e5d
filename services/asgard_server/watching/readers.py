"""Who is told what of a change: the one rule, for every kind of thing and every way to watch."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

Said = Literal["change", "gone"]


def said(keys: Set[str], *, seen: Set[str], kept: Set[str], lost: Set[str]) -> Said | None:
    """What is told to whoever has these keys of principals; None for nothing (protocols 11).

    `seen` may read the thing, `kept` could by the time of the change, `lost` could before it.
    Whoever only could is told that it is gone, unless a later change says what became of it.
    """
    if not keys.isdisjoint(seen):
        return "change"
    if keys.isdisjoint(lost) or not keys.isdisjoint(kept):
        return None
    return "gone"
