"""What a copy has done, counted by the threads that do it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["differs", "missing", "unreadable", "refused", "changed", "damaged"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is not copied, or not the same, and why.

    kind: "differs" (something else is there under this id, or bytes of it are damaged),
    "missing" (the source has not got it, although its run lists it or you named it),
    "unreadable" (a document or array of the source), "refused" (by the target), "changed" (it
    kept changing while it was copied), "damaged" (what was read back is not what was sent).
    """

    run_id: str
    result_id: str | None
    kind: Kind
    problem: str


@dataclass(slots=True)
class Report:
    """What a copy has done. "present" was there already, and is the same.

    bytes_sent: of documents and arrays that were not there. bytes_compared: of those that were
    read at the target. notes: what a home cannot keep.
    """

    runs: int = 0
    runs_copied: int = 0
    runs_present: int = 0
    results_copied: int = 0
    results_present: int = 0
    bytes_sent: int = 0
    bytes_compared: int = 0
    interrupted: bool = False
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def runs_done(self) -> int:
        """The runs that are behind us, well or not."""
        failed = len({problem.run_id for problem in self.problems})
        return min(self.runs, self.runs_copied + self.runs_present + failed)


class Tally:
    """A report that several threads write. `tell` is called after each change."""

    def __init__(self) -> None:
        self.report = Report()
        self.tell: Callable[[Report], None] = lambda report: None
        self._lock = threading.Lock()

    def count(self, **more: int) -> None:
        """Add to the numbers of the report."""
        with self._lock:
            for name, number in more.items():
                setattr(self.report, name, getattr(self.report, name) + number)
            self.tell(self.report)

    def problem(self, problem: Problem) -> None:
        """Note what went wrong."""
        with self._lock:
            self.report.problems.append(problem)
            self.tell(self.report)

    def note(self, text: str) -> None:
        """Note what a home cannot keep."""
        with self._lock:
            self.report.notes.append(text)
