"""ExperimentService's parts over each engine, with a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asgard_server.auth.principal import Principal
from asgard_server.experiment import wishes
from asgard_server.experiment.domain import Parent
from asgard_server.experiment.keeping import Keeper
from asgard_server.experiment.link_store import Wish
from asgard_server.experiment.linking import Linker
from asgard_server.experiment.retracting import Retractor
from asgard_server.experiment.sharing import Sharer
from asgard_server.experiment.sweeping import LeaseSweeper
from asgard_server.experiment.tracing import Tracer
from asgard_server.experiment.working import Floor, Place
from asgard_server.store.sql import access
from asgard_server.store.sql.asset_upkeep import OwnTurns
from asgard_server.store.sql.experiments import SqlShelf
from asgard_server.store.sql.links import Link, link
from asgard_server.store.sql.session import Database, Session
from gimle.asgard.core.ids import new_id

from tests.contract.asset_rows import NOON, an_asset
from tests.contract.sql_homes import database

ADA = Principal("ada")
BEN = Principal("ben", organizations=frozenset(("org_acme",)))
STRANGER = Principal("sue")


@dataclass
class Clock:
    """A clock that is moved by hand."""

    now: datetime = datetime(2026, 11, 29, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass
class Lab:
    """All parts, and short ways to bring them where a test begins."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    rings: int = 0

    def __post_init__(self) -> None:
        self.shelf = SqlShelf(self.database)
        self.keeper = Keeper(self.shelf, self.clock, self._told)
        self.sharer = Sharer(self.shelf, self.clock, self._told)
        self.linker = Linker(self.shelf, self.clock, self._told)
        self.floor = Floor(self.shelf, self.clock, self._told)
        self.retractor = Retractor(self.shelf, self.clock, self._told)
        self.tracer = Tracer(self.shelf)
        self.sweeper = self.a_sweeper()

    def a_sweeper(self) -> LeaseSweeper:
        """A sweeper of one more replica."""
        return LeaseSweeper(self.shelf, OwnTurns(), self.clock, self._told)

    async def _told(self) -> None:
        self.rings += 1

    async def open(
        self,
        id: str = "",
        *,
        by: Principal = ADA,
        parents: tuple[Parent, ...] = (),
        allow_retracted_parent: bool = False,
        **owner: str,
    ) -> str:
        """Make an open experiment; answer its id."""
        texts = {
            **dict.fromkeys(("title", "rationale", "description", "config_yaml"), ""),
            "hypothesis_summary": "it gets better",
        }
        asked = wishes.experiment(
            texts, id, parents, by.sub, self.clock(),
            allow_retracted_parent=allow_retracted_parent,
            **{"organization": "", "team": "", "visibility": "", **owner},
        )  # fmt: skip
        return (await self.keeper.create(asked, by)).experiment.id

    async def asset(self, asset_type: str = "dataset", *, by: str = "ada", **more: Any) -> str:
        """Put an asset into the table; answer its id."""
        id = new_id(self.clock())
        return await self.database.write(
            lambda session: an_asset(session, id, by=by, asset_type=asset_type, **more)
        )

    async def committed(self, variations: int = 1, *, by: Principal = ADA) -> str:
        """Make a committed experiment with so many variations; answer its id."""
        id = await self.open(by=by)
        report = await self.asset("hypothesis_report", by=by.sub)
        await self.linker.add(Wish(id, [report]), by)
        for _ in range(variations):
            await self.linker.vary(id, wishes.NewVariation(), by)
        await self.keeper.commit(id, {}, by)
        return id

    async def output(
        self,
        id: str,
        variation: int | None = 0,
        run: int | None = 0,
        *,
        asset_type: str = "dataset",
        state: str = "ready",
        by: Principal = ADA,
    ) -> str:
        """Put an output into the tables; answer its id."""
        asset_id = await self.asset(asset_type, by=by.sub, state=state)

        async def put(session: Session) -> None:
            await session.run(
                "UPDATE assets SET experiment_id = ?, variation = ?, run = ? WHERE id = ?",
                *(id, variation, run, asset_id),
            )
            made = Link(asset_id, "output", id, variation, run, linked_by=by.sub, linked_at=NOON)
            await link(session, made, by)

        await self.database.write(put)
        return asset_id

    async def state_of(self, asset_id: str) -> tuple[str, str | None]:
        """The state of an asset, and why it is invalid."""
        row = await self.database.read(
            lambda session: session.one(
                "SELECT state, invalidated_reason FROM assets WHERE id = ?", asset_id
            )
        )
        assert row is not None
        return row[0], row[1]

    async def words(self) -> list[tuple[str, str]]:
        """What was left to be done elsewhere: kinds and bodies, in order."""
        rows = await self.database.read(
            lambda session: session.all("SELECT kind, body FROM outbox ORDER BY number")
        )
        return [(row[0], row[1]) for row in rows]

    async def audited(self) -> list[str]:
        """What was done to experiments and assets, in order."""
        rows = await self.database.read(
            lambda session: session.all("SELECT action FROM audit ORDER BY number")
        )
        return [row[0] for row in rows]

    async def readers(self, asset_id: str) -> tuple[str, ...]:
        """Who may read an asset."""
        return await self.database.read(lambda session: access.readers(session, "asset", asset_id))


def run0(id: str, variation: int = 0) -> Place:
    """The first run of a variation."""
    return Place(id, variation, 0)


@asynccontextmanager
async def a_lab(engine: str, folder: Path) -> AsyncIterator[Lab]:
    """All parts over an engine that is empty."""
    async with database(engine, folder) as found:
        await found.write(_known)
        yield Lab(found)


async def _known(session: Session) -> None:
    """The people and organisations that tests name."""
    for sub in ("ada", "ben", "sue"):
        await session.run(
            "INSERT INTO users (sub, handle, name, created_at, created_by)"
            " VALUES (?, ?, '', 0, '')",
            *(sub, sub),
        )
    for slug in ("acme", "other"):
        await session.run(
            "INSERT INTO organizations (id, slug, name, created_at, created_by)"
            " VALUES (?, ?, '', 0, '')",
            *(f"org_{slug}", slug),
        )
