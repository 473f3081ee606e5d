"""Refuses what is still sent to a run that was lost: its worker was silent for too long.

Who says that a run is lost is ExperimentService; here it is a status like others, but one after
which no results come. What the index said of a run is believed for a second: it is told of the loss
by an outbox, which takes as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gimle.asgard.core.experiment_errors import VariationRunStateError

from asgard_server.run.domain import LOST
from asgard_server.run.store import RunIndex

SECONDS = 1.0
# So many runs and results are kept in mind.
_KNOWN = 10_000


class Fence:
    """Asked before results are written. `now` is a clock of seconds that never goes back."""

    def __init__(
        self,
        index: RunIndex,
        *,
        seconds: float = SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._seconds = seconds
        self._now = now
        self._open_until: dict[str, float] = {}
        self._run_of: dict[str, str] = {}

    async def check(self, run_id: str) -> None:
        """Raise `VariationRunStateError` where the run was lost."""
        now = self._now()
        if self._open_until.get(run_id, 0.0) > now:
            return
        row = await self._index.run(run_id)
        if row is not None and row.run.status == LOST:
            self._open_until.pop(run_id, None)
            raise VariationRunStateError(
                run_id, LOST, "no more results come to it; resume its variation for another run"
            )
        if len(self._open_until) >= _KNOWN:
            self._open_until.clear()
        self._open_until[run_id] = now + self._seconds

    async def check_result(self, result_id: str) -> None:
        """The same for the run of a result; one that is not there is left to others."""
        run_id = self._run_of.get(result_id)
        if run_id is None:
            row = await self._index.result(result_id)
            if row is None:
                return
            if len(self._run_of) >= _KNOWN:
                self._run_of.clear()
            run_id = self._run_of[result_id] = row.run_id
        await self.check(run_id)
