"""What a row of the table measures, and what it is given to measure with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number: ours, what stands beside it, the target, whether it is met."""

    what: str
    ours: str
    beside: str
    target: str
    met: bool


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a row works. `folder` is empty at first and shared by the rows of one run."""

    folder: Path
    quick: bool
    say: Callable[[str], None]
    plots: Path

    def few(self, many: int, few: int) -> int:
        """How often to do something: `few` times when the run is to be quick."""
        return few if self.quick else many


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie (nearest rank, from above)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return quantile(values, 0.5)


def milliseconds(seconds: float) -> str:
    """Seconds for people, as milliseconds."""
    return f"{seconds * 1e3:,.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


def within(what: str, seconds: float, most: float, beside: str = "", note: str = "") -> Figure:
    """A figure that must not be larger than `most` seconds."""
    ours = milliseconds(seconds) + (f" ({note})" if note else "")
    return Figure(what, ours, beside, f"at most {milliseconds(most)}", seconds <= most)


def share(what: str, ours: float, other: float, least: float, unit: str, note: str = "") -> Figure:
    """A figure that must be at least `least` of what stands beside it."""
    return Figure(
        what,
        f"{ours:,.0f} {unit} = {ours / other:.2f}",
        f"{other:,.0f} {unit}" + (f" ({note})" if note else ""),
        f"{least} of it",
        ours / other >= least,
    )
