"""WatchAssets: each watcher ends with exactly what it may read, and hears of nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asgard_server.access.domain import OWN, Visibility
from asgard_server.asset.watch import AssetWatch
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.feed.memory import MemoryFeed
from asgard_server.store.sql import access, asset_log
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.asset_news import SqlLog
from asgard_server.store.sql.session import Database, Session
from asgard_server.store.sql.sharing import SqlSharing
from gimle.asgard.core.errors import (
    AsgardError,
    ResumeTokenUnusableError,
    WatcherTooSlowError,
)
from gimle.asgard.v1 import watch_assets_pb2 as pb

from tests.contract.asset_rows import ADA, BEN, CLEO, SERVICE, an_asset, an_experiment, people
from tests.contract.sql_homes import ENGINES, database

NOW = datetime(2026, 11, 29, 13, tzinfo=UTC)
WITHIN_S = 60
WISHES: list[Visibility] = ["public", "private"]
Changed = pb.WatchAssetsResponse.Change


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(people)
        yield opened


@asynccontextmanager
async def watching(sessions: Database, **limits: float) -> AsyncIterator[AssetWatch]:
    watch = AssetWatch(SqlLog(sessions), MemoryFeed(), **limits)
    running = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class Told:
    """What a watcher was told, and what it holds by that."""

    def __init__(
        self, watch: AssetWatch, by: Principal, *, snapshot: bool = True, token: str = ""
    ) -> None:
        self.by = by
        self.held: dict[str, str] = {}
        self.heard: list[Changed] = []
        self.token = token
        self.revision = 0
        self._moved = asyncio.Event()
        self._watch, self._snapshot = watch, snapshot
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            await self._read(self._watch.tell(self.by, snapshot=self._snapshot, token=self.token))
        finally:
            self._moved.set()

    async def _read(self, stream: AsyncIterator[bytes]) -> None:
        async for serialised in stream:
            message = pb.WatchAssetsResponse.FromString(serialised)
            if message.HasField("reset"):
                self.held.clear()
            for change in message.changes:
                self.heard.append(change)
                if change.kind == Changed.KIND_DELETE:
                    self.held.pop(change.object_id, None)
                else:
                    self.held[change.object_id] = change.asset.name
            if message.resume_token:
                self.token, self.revision = message.resume_token, message.revision
            self._moved.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds of what was told."""
        async with asyncio.timeout(WITHIN_S):
            while not true():
                if self._task.done():
                    await self._task
                self._moved.clear()
                await self._moved.wait()

    async def placed(self, revision: int = 0) -> None:
        """Wait until it has a token, of a revision or a later one."""
        await self.until(lambda: self.token != "" and self.revision >= revision)

    async def error(self) -> BaseException:
        """What ends it."""
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(AsgardError) as raised:
                await self._task
        return raised.value

    async def leave(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def readable_now(sessions: Database, by: Principal) -> set[str]:
    async def work(session: Session) -> set[str]:
        found = await access.page(session, "asset", by, None, 10_000)
        found += await access.page(session, "experiment", by, None, 10_000)
        return {id for _, id in found}

    return await sessions.read(work)


async def head(sessions: Database) -> int:
    return (await sessions.look(asset_log.head))[1]


async def made(sessions: Database, id: str, by: str = "ada", readers: tuple[str, ...] = ()) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, id, by=by, readers=readers)
        await asset_log.log_all(
            session, [asset_log.Change("asset", id, (), sorted((by, *readers)))]
        )

    await sessions.write(work)


async def changed(sessions: Database, id: str, *names: str) -> None:
    async def work(session: Session) -> None:
        await access.hold(session, "asset", id)
        readers = await access.readers(session, "asset", id)
        for name in names:
            await session.run("UPDATE assets SET name = ? WHERE id = ?", name, id)
            await asset_log.log_all(session, [asset_log.Change("asset", id, readers, readers)])

    await sessions.write(work)


async def deleted(sessions: Database, id: str) -> None:
    async def work(session: Session) -> None:
        await access.hold(session, "asset", id)
        _, readers = await access.forget(session, "asset", id)
        await session.run("DELETE FROM assets WHERE id = ?", id)
        await asset_log.log_all(session, [asset_log.Change("asset", id, readers, ())])

    await sessions.write(work)


async def test_a_grant_brings_a_thing_and_its_end_takes_it(sessions: Database) -> None:
    sharing = SqlSharing(sessions)
    async with watching(sessions, checkpoint_seconds=0.05) as watch:
        await made(sessions, "a")
        ada, ben, local = (Told(watch, by) for by in (ADA, BEN, LOCAL))
        await ada.until(lambda: "a" in ada.held)
        await ben.until(lambda: ben.token != "")
        await sharing.grant("a", "o/acme", "read", ADA, NOW)
        await ben.until(lambda: "a" in ben.held)
        await sharing.revoke("a", "o/acme", "read", ADA, NOW)
        await ben.until(lambda: "a" not in ben.held)
        await changed(sessions, "a", "secret")
        await local.until(lambda: local.held.get("a") == "secret")
        end = await head(sessions)
        # What is not told moves the token on all the same, by checkpoints.
        await ben.until(lambda: ben.revision == end)
        assert [(each.kind, each.revision) for each in ben.heard] == [
            (Changed.KIND_UPDATE, 2),
            (Changed.KIND_DELETE, 3),
        ]
        for told in (ada, ben, local):
            assert not any(each.readers_before or each.readers_after for each in told.heard)
            await told.leave()


async def test_services_are_told_who_could_and_who_can_read(sessions: Database) -> None:
    sharing = SqlSharing(sessions)
    async with watching(sessions) as watch:
        await made(sessions, "a")
        service = Told(watch, SERVICE)
        await service.until(lambda: "a" in service.held)
        await sharing.grant("a", "ben", "read", ADA, NOW)
        await deleted(sessions, "a")
        await service.until(lambda: "a" not in service.held and service.heard[-1].revision == 3)
        said = [(list(each.readers_before), list(each.readers_after)) for each in service.heard]
        assert said == [([], ["ada"]), (["ada"], ["ada", "ben"]), (["ada", "ben"], [])]
        await service.leave()


async def test_one_who_resumes_late_is_not_shown_what_came_after_its_grant_had_ended(
    sessions: Database,
) -> None:
    """Entries tell of things as they are now: also those from when it was readable."""
    sharing = SqlSharing(sessions)
    async with watching(sessions) as watch:
        ben = Told(watch, BEN)
        await ben.until(lambda: ben.token != "")
        await ben.leave()
        await made(sessions, "a", readers=("ben",))
        await sharing.revoke("a", "ben", "read", ADA, NOW)
        await changed(sessions, "a", "secret")
        again = Told(watch, BEN, token=ben.token)
        await again.until(lambda: again.revision >= 3 or len(again.heard) == 1)
        assert [each.kind for each in again.heard] == [Changed.KIND_DELETE]
        assert "secret" not in str(again.heard)
        await again.leave()


async def test_a_token_of_a_caller_of_other_teams_is_unusable(sessions: Database) -> None:
    """What became readable by joining, before it resumed, is in no entry behind its token."""
    async with watching(sessions) as watch:
        before = Told(watch, Principal("ben"))
        await before.until(lambda: before.token != "")
        await before.leave()
        joined = Told(watch, BEN, token=before.token)
        assert isinstance(await joined.error(), ResumeTokenUnusableError)
        same = Told(watch, Principal("ben"), token=before.token)
        await same.until(lambda: same.token != "")
        await same.leave()


async def test_one_who_does_not_read_what_concerns_it_is_let_go(sessions: Database) -> None:
    async with watching(sessions, capacity=20) as watch:
        await made(sessions, "a")
        stream = watch.tell(ADA, snapshot=False, token="")
        await anext(stream)
        other = Told(watch, LOCAL, snapshot=False)
        await other.until(lambda: other.token != "")
        first = asyncio.create_task(anext(stream))
        await changed(sessions, "a", *map(str, range(60)))
        await other.placed(61)
        await first
        with pytest.raises(WatcherTooSlowError):
            async for _ in stream:
                pass
        await other.leave()


@pytest.mark.parametrize("turn", range(2))
async def test_each_ends_with_what_it_may_read_and_heard_of_nothing_else(
    sessions: Database, turn: int
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sharing = SqlSharing(sessions)
    people_of = [ADA, BEN, CLEO, Principal("dan"), Principal("eve", teams=frozenset(("team_ml",)))]
    granted = ["ben", "cleo", "dan", "eve", "o/acme", "t/ml-team", "everyone"]
    ids: list[str] = []

    async def write(writer: int) -> None:
        mine: list[str] = []
        for step in range(20):
            kind = chance.choice(["make", "grant", "grant", "revoke", "change", "delete", "see"])
            if kind == "make" or not mine:
                id = f"w{writer}-{step}"
                await made(sessions, id)
                mine.append(id)
                ids.append(id)
                continue
            id = chance.choice(mine)
            if kind == "grant":
                await sharing.grant(id, chance.choice(granted), "read", ADA, NOW)
            elif kind == "revoke":
                await sharing.revoke(id, chance.choice(granted), "read", ADA, NOW)
            elif kind == "change":
                await changed(sessions, id, f"{writer}/{step}")
            elif kind == "see":
                await sharing.set_visibility(id, chance.choice(WISHES), ADA, NOW)
            else:
                mine.remove(id)
                await deleted(sessions, id)

    async with watching(sessions, checkpoint_seconds=0.2) as watch:
        for number in range(5):
            await made(sessions, f"first{number}", readers=(chance.choice(["ben", "org_acme"]),))
            ids.append(f"first{number}")
        told = [Told(watch, by) for by in (*people_of, LOCAL, SERVICE)]
        writing = asyncio.gather(*(write(number) for number in range(4)))
        late: list[Told] = []
        for _ in range(4):
            # Some leave and come back from where they were.
            each = chance.choice(told)
            await each.placed()
            await each.leave()
            back = Told(watch, each.by, token=each.token)
            back.held, back.heard = each.held, each.heard
            told[told.index(each)] = back
            late.append(Told(watch, chance.choice(people_of)))
        await writing
        end = await head(sessions)
        for each in (*told, *late):
            await each.placed(end)
            assert set(each.held) == await readable_now(sessions, each.by), each.by
            await each.leave()

    # By the log: whoever heard of something could read it before or after one of its changes.
    entries = await sessions.look(lambda session: asset_log.behind(session, 0, 100_000))
    could: dict[str, set[str]] = {id: set() for id in ids}
    for _, change in entries:
        could[change.id] |= {*change.before, *change.after}
    for each in (*told, *late):
        for heard in each.heard:
            keys = each.by.keys & could[heard.object_id]
            assert keys or each.by.sees_everything, (each.by, heard)
        said = [change.revision for change in each.heard if change.revision]
        assert said == sorted(set(said))


async def test_an_experiment_is_told_of_like_an_asset(sessions: Database) -> None:
    async def experiment(session: Session) -> None:
        await an_experiment(session, "e", readers=["ben"])
        await asset_log.log_all(session, [asset_log.Change("experiment", "e", (), ("ada", "ben"))])

    async def end(session: Session) -> None:
        created_at = await access.hold(session, "experiment", "e")
        await access.revoke(session, "experiment", "e", "ben", "read", OWN)
        before, after = await access.regrant(session, "experiment", "e", created_at)
        await asset_log.log_all(session, [Change("experiment", "e", before, after)])

    async with watching(sessions) as watch:
        ben, dan = Told(watch, BEN), Told(watch, Principal("dan"))
        await ben.until(lambda: ben.token != "")
        await sessions.write(experiment)
        await ben.until(lambda: "e" in ben.held)
        assert ben.heard[0].object_kind == "experiment"
        assert not ben.heard[0].HasField("asset")
        late = Told(watch, BEN)
        await late.until(lambda: "e" in late.held)
        await sessions.write(end)
        await ben.until(lambda: "e" not in ben.held)
        await late.until(lambda: "e" not in late.held)
        assert dan.heard == []
        for each in (ben, dan, late):
            await each.leave()
