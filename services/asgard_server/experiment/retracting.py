"""Taking experiments and variations back, and what that hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asgard_server.auth.principal import Principal
from asgard_server.experiment import domain, tracing, wishes
from asgard_server.experiment.changing import Changing
from asgard_server.experiment.domain import Variation
from asgard_server.experiment.link_store import LinkedAsset, Which
from asgard_server.experiment.seeing import Seen, SeenVariation, held, seen
from asgard_server.experiment.store import Rows, Told
from asgard_server.experiment.tracing import Downstream

_SHOWN = 1_000
_DEEP = 20


@dataclass(frozen=True, slots=True)
class Preview:
    """What retracting would make invalid, and who builds on that; as far as the caller may read."""

    outputs: Sequence[LinkedAsset]
    count: int
    downstream: Sequence[Downstream]


class Retractor(Changing):
    """Retractions; else as `Keeper`."""

    async def experiment(
        self, id: str, reason: str, document_id: str | None, by: Principal
    ) -> tuple[Seen, int]:
        """Take an experiment back with all its outputs; answer how many these are.

        A repeat replaces the reason. Raises `ExperimentStateError`, `InvalidFieldError`,
        `NotFoundError` for a document that the caller may not read.
        """
        why, now = wishes.reason(reason), self._clock()

        async def retract(rows: Rows) -> tuple[Seen, int]:
            before = await held(rows, id, by, "delete")
            if document_id:
                await rows.links.require(document_id, by)
            after = domain.retracted(before, why, by.sub, document_id or None, now)
            await rows.experiments.put(after)
            count = await rows.links.retract(id, None, why, by, now)
            details = {"reason": why, "document": document_id, "invalidated_outputs": count}
            await rows.record(Told("experiment.retract", after, by, now, details))
            return await seen(rows, after, by), count

        return await self._change(retract)

    async def variation(
        self, id: str, number: int, reason: str, by: Principal
    ) -> tuple[SeenVariation, int]:
        """Take a variation back with its outputs; else as `experiment`."""
        why, now = wishes.reason(reason), self._clock()

        async def retract(rows: Rows) -> tuple[Variation, int]:
            into = await held(rows, id, by, "delete")
            before = await rows.experiments.variation(id, number)
            after = domain.variation_retracted(before, why, by.sub, now)
            await rows.experiments.put_variation(after)
            count = await rows.links.retract(id, number, why, by, now)
            details = {"variation": number, "reason": why, "invalidated_outputs": count}
            await rows.record(Told("variation.retract", into, by, now, details))
            return after, count

        after, count = await self._change(retract)
        return SeenVariation(after), count

    async def preview(self, id: str, variation: int | None, by: Principal) -> Preview:
        """What taking it back would hit. Changes nothing."""

        async def look(rows: Rows) -> Preview:
            await rows.access.require(id, by, "read")
            if variation is not None:
                await rows.experiments.variation(id, variation)
            which = Which("output", variation=variation)
            outputs = await rows.links.assets(id, which, by, _SHOWN)
            return Preview(
                outputs,
                await rows.links.count(id, variation, by),
                await tracing.downstream(rows, id, variation, by, _DEEP),
            )

        return await self._shelf.look(look)
