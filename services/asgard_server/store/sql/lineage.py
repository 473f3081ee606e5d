"""What an asset was made from, and what was made from it, step by step through links.

An asset goes into an experiment or a variation, which is a step, and others come out of it, which
is another. Steps lead through nothing that the caller may not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from asgard_server.access.domain import Kind
from asgard_server.asset.access_store import Edge, Lineage, Node
from asgard_server.asset.domain import Flag
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import moment
from asgard_server.store.sql import access
from asgard_server.store.sql.among import among
from asgard_server.store.sql.links import NO_VARIATION
from asgard_server.store.sql.readable import readable
from asgard_server.store.sql.session import Row, Session

NODES = 1_000

_Direction = Literal["input", "output"]


class _Part(NamedTuple):
    """An experiment itself, or one of its variations."""

    experiment_id: str
    variation: int


class _Link(NamedTuple):
    asset_id: str
    part: _Part
    allow_invalid: bool


class _Walk:
    """The nodes and edges that were found."""

    def __init__(self, session: Session, by: Principal, asset_id: str) -> None:
        self.session = session
        self.by = by
        self.distances: dict[tuple[Kind, str], int] = {("asset", asset_id): 0}
        self.edges: dict[tuple[str, str, int, str], Edge] = {}
        self.is_cut = False

    async def go(self, asset_id: str, sign: Literal[-1, 1], depth: int) -> None:
        """Follow links up (-1) or down (1), `depth` steps at most."""
        into: _Direction = "output" if sign < 0 else "input"
        out: _Direction = "input" if sign < 0 else "output"
        assets, seen_parts, seen_assets = {asset_id}, set[_Part](), {asset_id}
        distance = 0
        while assets:
            links = await self._links("l.asset_id", assets, into)
            if distance >= depth:
                self.is_cut = self.is_cut or bool(links)
                return
            distance += 1
            self._add(links, "experiment", into, sign * distance)
            parts = {each.part for each in links} - seen_parts
            seen_parts |= parts
            links = await self._through(parts, out)
            if distance >= depth:
                self.is_cut = self.is_cut or bool({each.asset_id for each in links} - seen_assets)
                return
            distance += 1
            self._add(links, "asset", out, sign * distance)
            assets = {each.asset_id for each in links} - seen_assets
            seen_assets |= assets

    async def _through(self, parts: set[_Part], direction: _Direction) -> list[_Link]:
        """Links of these parts: what goes into an experiment goes into all of its variations."""
        if not parts:
            return []
        links = await self._links(
            "l.experiment_id", {each.experiment_id for each in parts}, direction
        )
        whole = {each.experiment_id for each in parts if each.variation == NO_VARIATION}
        return [
            each
            for each in links
            if each.part in parts
            or each.part.variation == NO_VARIATION
            or each.part.experiment_id in whole
        ]

    async def _links(self, column: str, ids: Iterable[str], direction: _Direction) -> list[_Link]:
        chosen, values = among(self.session, column, sorted(ids))
        asset, asset_keys = readable(self.session, "asset", "l.asset_id", self.by)
        experiment, keys = readable(self.session, "experiment", "l.experiment_id", self.by)
        rows = await self.session.all(
            "SELECT l.asset_id, l.experiment_id, l.variation, l.allow_invalid"  # noqa: S608 - ours
            f" FROM asset_links AS l WHERE {chosen} AND l.direction = ? AND {asset}"
            f" AND {experiment} ORDER BY l.asset_id, l.experiment_id, l.variation LIMIT ?",
            *(values, direction, *asset_keys, *keys, 4 * NODES),
        )
        self.is_cut = self.is_cut or len(rows) == 4 * NODES
        return [_Link(row[0], _Part(row[1], row[2]), bool(row[3])) for row in rows]

    def _add(
        self, links: Iterable[_Link], kind: Kind, direction: _Direction, distance: int
    ) -> None:
        for link in links:
            id = link.asset_id if kind == "asset" else link.part.experiment_id
            if (kind, id) not in self.distances:
                if len(self.distances) >= NODES:
                    self.is_cut = True
                    continue
                self.distances[kind, id] = distance
            ends = (("asset", link.asset_id), ("experiment", link.part.experiment_id))
            if all(end in self.distances for end in ends):
                number = link.part.variation
                variation = None if number == NO_VARIATION else number
                key = (link.asset_id, link.part.experiment_id, number, direction)
                self.edges[key] = Edge(
                    *(link.asset_id, link.part.experiment_id, variation, direction),
                    link.allow_invalid,
                )


async def lineage(
    session: Session, asset_id: str, by: Principal, *, up: bool, down: bool, depth: int
) -> Lineage:
    """What is within `depth` steps. Raises `NotFoundError`."""
    await access.require(session, "asset", asset_id, by, "read")
    walk = _Walk(session, by, asset_id)
    if up:
        await walk.go(asset_id, -1, depth)
    if down:
        await walk.go(asset_id, 1, depth)
    nodes = [*await _assets(walk), *await _experiments(walk)]
    nodes.sort(key=lambda each: (abs(each.distance), each.distance, each.kind, each.id))
    edges = sorted(walk.edges)
    return Lineage(tuple(nodes), tuple(walk.edges[each] for each in edges), walk.is_cut)


async def _assets(walk: _Walk) -> list[Node]:
    rows = await _rows(
        walk,
        "asset",
        "SELECT id, name, asset_type, deprecated_reason, deprecated_by, deprecated_at,"
        " invalidated_reason, invalidated_by, invalidated_at, invalidated_with FROM assets",
    )
    return [
        Node(
            "asset",
            row[0],
            walk.distances["asset", row[0]],
            label=row[1] or row[2],
            asset_type=row[2],
            deprecated=_flag(*row[3:6]),
            invalidated=_flag(*row[6:]),
        )
        for row in rows
    ]


async def _experiments(walk: _Walk) -> list[Node]:
    rows = await _rows(
        walk,
        "experiment",
        "SELECT id, title, hypothesis_summary, retracted_at FROM experiments",
    )
    return [
        Node(
            "experiment",
            row[0],
            walk.distances["experiment", row[0]],
            label=row[1] or row[2],
            retracted=row[3] is not None,
        )
        for row in rows
    ]


async def _rows(walk: _Walk, kind: Kind, query: str) -> list[Row]:
    ids = [id for found, id in walk.distances if found == kind]
    chosen, values = among(walk.session, "id", ids)
    return await walk.session.all(f"{query} WHERE {chosen}", values)


def _flag(reason: str | None, by: str | None, at: int | None, brought: str = "") -> Flag | None:
    return None if at is None else Flag(reason or "", by or "", moment(at), brought or "")
