"""What is done with an experiment as a whole: making it, reading it, changing it, its life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from gimle.asgard.core.errors import AlreadyExistsError
from gimle.asgard.core.experiment_errors import ExperimentStateError

from asgard_server.access.domain import Owner, Visibility, visibility_of
from asgard_server.auth.principal import Principal
from asgard_server.experiment import documents, domain, wishes
from asgard_server.experiment.changing import Changing
from asgard_server.experiment.domain import Experiment, Finding, Parent, Variation
from asgard_server.experiment.link_store import LinkedAsset, Which
from asgard_server.experiment.parents import check_parents, readable_parents, refuse_circle
from asgard_server.experiment.seeing import (
    Detail,
    Seen,
    SeenVariation,
    held,
    require_no_worker,
    seen,
)
from asgard_server.experiment.store import Filter, Rows, Told

T = TypeVar("T")

# So many inputs of an experiment, and of each of its variations, come with its detail.
_SHOWN = 1_000


class Keeper(Changing):
    """Experiments as people keep them. `told` is called after each change: watchers are to look.

    All methods raise `NotFoundError` and `ForbiddenError` as access.require does.
    """

    async def create(self, asked: wishes.Asked, by: Principal) -> Seen:
        """Make an experiment, or answer the one that was asked for alike under this id.

        Raises `AlreadyExistsError`, `DeletedError`, `NotFoundError`, `NotAMemberError`,
        `ExperimentRetractedError`, `InvalidFieldError`.
        """
        require_no_worker(by)

        async def create(rows: Rows) -> Seen:
            wanted = asked.experiment
            if (there := await rows.experiments.repeated(wanted.id)) is not None:
                if (there.request_digest, there.created_by) != (wanted.request_digest, by.sub):
                    raise AlreadyExistsError("experiment", wanted.id)
                return await seen(rows, there, by)
            owner = await rows.access.owner(asked.organization, asked.team, by)
            visibility = visibility_of(asked.visibility, _usual(owner))
            made = replace(
                wanted,
                organization_id=owner.organization_id,
                team_id=owner.team_id,
                visibility=visibility,
            )
            await check_parents(rows, asked.parents, by, retracted=asked.allow_retracted_parent)
            if not await rows.experiments.add(made):
                raise AlreadyExistsError("experiment", made.id)
            await rows.experiments.put_parents(made.id, asked.parents)
            await rows.access.own(made.id, by, made.created_at)
            await rows.access.broadcast(made.id, visibility, owner, by, made.created_at)
            await rows.access.settle(made.id, made.created_at)
            details = {"title": made.title, "parents": [each.id for each in asked.parents]}
            await rows.record(Told("experiment.create", made, by, made.created_at, details))
            return await seen(rows, made, by)

        return await self._change(create)

    async def detail(self, id: str, by: Principal) -> Detail:
        """All of an experiment that the caller may read."""

        async def look(rows: Rows) -> Detail:
            whole = await seen(rows, await rows.experiments.find(id), by)
            if not whole.actions:
                await rows.access.require(id, by, "read")
            inputs = await rows.links.assets(id, Which("input"), by, 100_000)
            of: dict[int | None, list[LinkedAsset]] = {}
            for each in inputs:
                of.setdefault(each.variation, []).append(each)
            latest = await rows.runs.latest(id)
            return Detail(
                whole,
                [
                    SeenVariation(each, latest.get(each.number), of.get(each.number, [])[:_SHOWN])
                    for each in await rows.experiments.variations(id)
                ],
                of.get(None, [])[:_SHOWN],
                await rows.experiments.findings(id),
            )

        return await self._shelf.look(look)

    async def page(
        self,
        by: Principal,
        state: str,
        owner: str,
        behind: tuple[datetime, str] | None,
        limit: int,
    ) -> list[Seen]:
        """Experiments that the caller may read, newest first. `owner` by id or handle."""

        async def look(rows: Rows) -> list[Seen]:
            retracted = state == "retracted"
            wanted = Filter("" if retracted else state, retracted=retracted, owner=owner)
            found = await rows.experiments.page(by, wanted, behind, limit)
            parents = await readable_parents(rows, [each.id for each in found], by)
            return [Seen(each, parents[each.id]) for each in found]

        return await self._shelf.look(look)

    async def edit(
        self,
        id: str,
        texts: Mapping[str, str],
        parents: Sequence[Parent] | None,
        by: Principal,
        *,
        allow_retracted_parent: bool,
    ) -> Seen:
        """Change texts, and parents where they are given.

        Raises `ExperimentStateError`, `ExperimentRetractedError`, `InvalidFieldError`.
        """
        now = self._clock()
        new = None if parents is None else wishes.parents(parents, id)

        async def edit(rows: Rows) -> Seen:
            if new is not None:
                # In the order of ids: of two that are built upon each other at once one waits.
                for each in sorted((id, *(parent.id for parent in new))):
                    await rows.experiments.find(each, lock=True)
            before = await held(rows, id, by, "write")
            after = wishes.edited(before, texts, now)
            if new is not None:
                domain.require(before, "edit")
                await check_parents(rows, new, by, retracted=allow_retracted_parent)
                await refuse_circle(rows, id, new)
                await rows.experiments.put_parents(id, new)
                after = replace(after, updated_at=now)
            if after == before:
                return await seen(rows, before, by)
            await rows.experiments.put(after)
            changed = [name for name in texts if getattr(before, name) != texts[name]]
            if new is not None:
                changed.append("parents")
            await rows.record(Told("experiment.update", after, by, now, {"fields": changed}))
            return await seen(rows, after, by)

        return await self._change(edit)

    async def delete(self, id: str, by: Principal) -> int:
        """Delete an open experiment; answer how many links went. Raises `ExperimentStateError`."""
        now = self._clock()

        async def delete(rows: Rows) -> int:
            found = domain.require(await held(rows, id, by, "delete"), "delete")
            if children := await rows.experiments.children(id):
                raise ExperimentStateError(
                    id,
                    found.state,
                    "take it out of their parents before",
                    problem=f"and a parent of {children:,} others",
                )
            # Told before it goes: who could read it is to know.
            await rows.record(Told("experiment.delete", found, by, now, {"title": found.title}))
            return await rows.experiments.remove(id, now)

        return await self._change(delete)

    async def commit(
        self, id: str, resolution: Mapping[str, str], by: Principal
    ) -> tuple[Seen, list[SeenVariation]]:
        """Fix what is believed and what goes in, and make run 0 of each variation.

        Raises `ExperimentStateError`, `InvalidFieldError`.
        """
        now = self._clock()

        async def commit(rows: Rows) -> tuple[Seen, list[SeenVariation]]:
            before = await held(rows, id, by, "write")
            reports = await rows.links.reports(id, "input", domain.HYPOTHESIS)
            parents = await rows.experiments.parents(id)
            made = domain.committed(before, reports, parents, resolution, now)
            if made.experiment != before:
                await rows.experiments.put(made.experiment)
                kept = [Parent(each.id) for each in parents if each.id not in made.dropped]
                await rows.experiments.put_parents(id, kept)
                for each in await rows.experiments.variations(id):
                    await commit_variation(rows, made.experiment, each, now)
                details = {"promoted": list(made.promoted), "dropped": list(made.dropped)}
                await rows.record(Told("experiment.commit", made.experiment, by, now, details))
            latest = await rows.runs.latest(id)
            variations = await rows.experiments.variations(id)
            return await seen(rows, made.experiment, by), [
                SeenVariation(each, latest.get(each.number)) for each in variations
            ]

        return await self._change(commit)

    async def conclude(self, id: str, on_exist: str, by: Principal) -> Seen:
        """Say that what was found is written down.

        Raises `ExperimentStateError`, `AlreadyConcludedError`, `InvalidFieldError`.
        """
        now = self._clock()

        async def conclude(rows: Rows) -> Seen:
            before = await held(rows, id, by, "write")
            reports = await rows.links.reports(id, "output", domain.TAKEAWAYS)
            after = domain.concluded(before, reports, on_exist, now)
            if after != before:
                await rows.experiments.put(after)
                details = {"takeaways_report_id": after.takeaways_id}
                await rows.record(Told("experiment.conclude", after, by, now, details))
            return await seen(rows, after, by)

        return await self._change(conclude)

    async def find(
        self,
        id: str,
        status: str,
        summary: str,
        variation: int | None,
        source: str | None,
        by: Principal,
    ) -> Finding:
        """Note what was found. Raises `ExperimentStateError`, `InvalidFieldError`."""
        now = self._clock()

        async def find(rows: Rows) -> Finding:
            into = await held(rows, id, by, "write", worker=by.run is not None)
            made = wishes.finding(into, status, summary, variation, source, by.sub, now)
            if source is not None:
                await rows.links.require(source, by)
            await rows.experiments.add_finding(made)
            details = {"finding": made.id, "status": made.status}
            await rows.record(Told("experiment.find", into, by, now, details))
            return made

        return await self._change(find)


async def commit_variation(
    rows: Rows, experiment: Experiment, variation: Variation, now: datetime
) -> SeenVariation:
    """Fix a variation, and make its run 0."""
    made = replace(variation, state="committed", committed_at=now, runs=1)
    await rows.experiments.put_variation(made)
    return SeenVariation(made, await documents.add_run(rows, experiment, made, 0, now))


def _usual(owner: Owner) -> Visibility:
    """Who may read what somebody makes and says nothing of that."""
    return "private" if owner.scope is None else "org_public"
