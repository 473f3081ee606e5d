"""Inputs and outputs: what goes into an experiment and its variations, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gimle.asgard.core.errors import AlreadyExistsError

from asgard_server.auth.principal import Principal
from asgard_server.experiment import domain, wishes
from asgard_server.experiment.changing import Changing
from asgard_server.experiment.domain import Experiment, Variation
from asgard_server.experiment.keeping import commit_variation
from asgard_server.experiment.leases import Run
from asgard_server.experiment.link_store import LinkedAsset, Warned, Which, Wish
from asgard_server.experiment.seeing import SeenVariation, held
from asgard_server.experiment.store import Rows, Told

_RETRACTED = "nothing is added to it any more"


@dataclass(frozen=True, slots=True)
class Linked:
    """What came of linking: the inputs as they are now, and what is noteworthy of them."""

    assets: Sequence[LinkedAsset]
    warnings: Sequence[Warned]


class Linker(Changing):
    """Inputs, outputs and variations; else as `Keeper`."""

    async def add(self, wish: Wish, by: Principal) -> Linked:
        """Link inputs, all or none.

        Raises `ExperimentStateError`, `ExperimentRetractedError`, `AssetStateError`,
        `AssetInvalidatedError`.
        """
        now = self._clock()

        async def add(rows: Rows) -> Linked:
            into = await held(rows, wish.experiment_id, by, "write")
            await _require_room(rows, into, wish.variation, wish.asset_ids, by)
            domain.require_standing(into, _RETRACTED)
            warned = await rows.links.link(wish, by, now)
            await rows.record(Told("experiment.link", into, by, now, _details(wish)))
            named = _inputs(wish.variation, wish.asset_ids)
            return Linked(await rows.links.assets(into.id, named, by, len(wish.asset_ids)), warned)

        return await self._change(add)

    async def remove(self, id: str, variation: int | None, asset_id: str, by: Principal) -> bool:
        """Remove an input; answer whether it was there. Raises `ExperimentStateError`."""
        now = self._clock()

        async def remove(rows: Rows) -> bool:
            into = await held(rows, id, by, "write")
            if not await rows.links.assets(id, _inputs(variation, [asset_id]), by, 1):
                if variation is not None:
                    await rows.experiments.variation(id, variation)
                return False
            await _require_room(rows, into, variation, [asset_id], by)
            removed = await rows.links.unlink(id, variation, asset_id, by, now)
            details = {"asset_id": asset_id, "variation": variation}
            await rows.record(Told("experiment.unlink", into, by, now, details))
            return removed

        return await self._change(remove)

    async def assets(self, id: str, which: Which, by: Principal, limit: int) -> list[LinkedAsset]:
        """What is linked and the caller may read, in the order of the assets' ids."""

        async def look(rows: Rows) -> list[LinkedAsset]:
            await rows.access.require(id, by, "read")
            if which.variation is not None:
                await rows.experiments.variation(id, which.variation)
            return await rows.links.assets(id, which, by, limit)

        return await self._shelf.look(look)

    async def run_assets(
        self, id: str, which: Which, run: int, by: Principal, limit: int
    ) -> list[LinkedAsset]:
        """The same of a run, or of all runs of its variation."""

        async def look(rows: Rows) -> list[LinkedAsset]:
            await rows.access.require(id, by, "read")
            await rows.runs.find(id, which.variation or 0, run)
            return await rows.links.assets(id, which, by, limit)

        return await self._shelf.look(look)

    # Variations -------------------------------------------------------------------------

    async def vary(
        self, id: str, wish: wishes.NewVariation, by: Principal
    ) -> tuple[SeenVariation, Sequence[Warned]]:
        """Add a variation, or answer the one that was asked for alike under this number.

        Raises as `add` does; `AlreadyExistsError`, `InvalidFieldError`.
        """
        now = self._clock()

        async def vary(rows: Rows) -> tuple[SeenVariation, Sequence[Warned]]:
            into = await held(rows, id, by, "write")
            if wish.number is not None and 0 <= wish.number < into.variations:
                there = await rows.experiments.variation(id, wish.number)
                if there.request_digest != wish.digest:
                    raise AlreadyExistsError("variation", there.id)
                return await _seen(rows, there, by), ()
            domain.require(into, "vary")
            domain.require_standing(into, _RETRACTED)
            made = wishes.variation(wish, into, by.sub, now)
            await rows.experiments.add_variation(made)
            warned: Sequence[Warned] = ()
            if wish.inputs:
                inputs = Wish(id, wish.inputs, made.number, allow_invalid=wish.allow_invalid)
                warned = await rows.links.link(inputs, by, now)
            if into.state == "committed":
                made = (await commit_variation(rows, into, made, now)).variation
            details = {"variation": made.number, "name": made.name}
            await rows.record(Told("experiment.vary", into, by, now, details))
            return await _seen(rows, made, by), warned

        return await self._change(vary)

    async def variation(
        self, id: str, number: int, by: Principal, limit: int
    ) -> tuple[SeenVariation, list[Run]]:
        """A variation, and its newest runs."""

        async def look(rows: Rows) -> tuple[SeenVariation, list[Run]]:
            await rows.access.require(id, by, "read")
            found = await rows.experiments.variation(id, number)
            runs = await rows.runs.of_variation(id, number, limit)
            return await _seen(rows, found, by), runs

        return await self._shelf.look(look)


async def _require_room(
    rows: Rows, into: Experiment, variation: int | None, asset_ids: Sequence[str], by: Principal
) -> None:
    """Raise `ExperimentStateError` where these inputs may be linked or removed no more."""
    if variation is not None:
        domain.require_open(await rows.experiments.variation(into.id, variation))
        return
    types = await rows.links.types(asset_ids, by)
    cited = all(each in domain.CITED for each in types.values())
    domain.require(into, "cite" if cited else "link")


async def _seen(rows: Rows, variation: Variation, by: Principal) -> SeenVariation:
    latest = await rows.runs.latest(variation.experiment_id)
    which = _inputs(variation.number)
    inputs = await rows.links.assets(variation.experiment_id, which, by, wishes.AT_ONCE)
    return SeenVariation(variation, latest.get(variation.number), inputs)


def _inputs(variation: int | None, only: Sequence[str] = ()) -> Which:
    return Which("input", variation=variation, itself=variation is None, only=tuple(only))


def _details(wish: Wish) -> dict[str, object]:
    return {
        "asset_ids": list(wish.asset_ids),
        "variation": wish.variation,
        "allow_invalid_assets": wish.allow_invalid,
        "propagate_acl": wish.propagate_acl,
    }
