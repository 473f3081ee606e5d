"""The `results` list in the documents of runs: rewritten once a second, not with every result.

An acknowledged result is in the index; the list serves readers of the documented layout, and
may lag. One replica at a time writes that of a run. What it leaves undone when it dies is in
the ledger, and others find it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from gimle.asgard.core.errors import AsgardError

from asgard_server.run.ledger import Ledger

REWRITTEN_EVERY_S = 1.0
# Results that come together are listed together.
_GATHERED_FOR_S = 0.1

log = structlog.get_logger()


class ResultLists:
    """Has the lists of runs rewritten by `rewrite`, which says whether there was anything to list.

    It is called once a second for a run at most, while the run's lock is held.
    """

    def __init__(
        self,
        ledger: Ledger,
        rewrite: Callable[[str], Awaitable[bool]],
        every_s: float = REWRITTEN_EVERY_S,
    ) -> None:
        self._ledger = ledger
        self._rewrite = rewrite
        self._every_s = every_s
        self._pending: dict[str, dict[str, None]] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}

    def add(self, run_id: str, result_id: str | None = None) -> None:
        """Say that a run has results that its document does not name, one of them new."""
        pending = self._pending.setdefault(run_id, {})
        if result_id is not None:
            pending[result_id] = None
        if run_id not in self._keeping:
            self._keeping[run_id] = asyncio.create_task(self._keep(run_id))

    def pending(self, run_id: str) -> list[str]:
        """New results of this process that the run's document may not name, oldest first."""
        return list(self._pending.get(run_id, ()))

    def named(self, run_id: str, result_ids: list[str]) -> None:
        """Say that the run's document names them now, or that they are gone."""
        pending = self._pending.get(run_id)
        if pending is not None:
            for result_id in result_ids:
                pending.pop(result_id, None)

    async def drain(self) -> None:
        """Rewrite what is waiting, now."""
        keeping, self._keeping = self._keeping, {}
        for task in keeping.values():
            task.cancel()
        await asyncio.gather(*keeping.values(), return_exceptions=True)
        for run_id in keeping:
            try:
                await self._rewrite(run_id)
            except AsgardError as error:
                _say_later(run_id, error)

    async def _keep(self, run_id: str) -> None:
        await asyncio.sleep(min(_GATHERED_FOR_S, self._every_s))
        while True:
            try:
                async with self._ledger.held(f"results of {run_id}") as ours:
                    while ours:
                        if not await self._rewrite(run_id) and not self.pending(run_id):
                            self._pending.pop(run_id, None)
                            self._keeping.pop(run_id, None)
                            return
                        await asyncio.sleep(self._every_s)
                # Its holder may have listed ours, too, when we hold it.
                await asyncio.sleep(self._every_s)
            except AsgardError as error:
                _say_later(run_id, error)
                await asyncio.sleep(self._every_s)


def _say_later(run_id: str, error: AsgardError) -> None:
    log.warning("results of a run are not listed yet", run=run_id, problem=str(error))
