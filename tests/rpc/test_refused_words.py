"""What RunService refuses for good is set aside, and what is behind it goes on: on both engines."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from asgard_server.outbox.delivery import REFUSALS, Delivery
from asgard_server.outbox.refused import RefusedError
from asgard_server.store.blob_rows import micros
from asgard_server.store.rpc_runs import RpcRuns
from asgard_server.store.sql import outbox
from asgard_server.store.sql.asset_upkeep import OwnTurns
from asgard_server.store.sql.outbox import SqlOutbox
from asgard_server.store.sql.session import Database, Session
from asgard_server.store.sql.sqlite import SqliteSessions
from asgard_server.store.sqlite_database import SqliteDatabase
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.v1 import run_service_pb2 as pb
from prometheus_client import REGISTRY

from tests.contract.experiment_homes import Clock
from tests.contract.sql_homes import ENGINES, database
from tests.rpc.running import Running, a_service
from tests.rpc.test_variation_documents import BODY

KIND = "run.document"
# No run may have such a name: whoever left the word did not look.
WRONG = {**BODY, "name": "x" * 100_000}


@dataclass
class Post:
    """An outbox, and the real RunService that takes what is in it."""

    database: Database
    running: Running
    clock: Clock
    delivery: Delivery
    outbox: SqlOutbox

    async def leave(self, key: str, body: Mapping[str, Any], kind: str = KIND) -> None:
        async def leave(session: Session) -> None:
            await outbox.leave(session, kind, key, body, micros(self.clock()))

        await self.database.write(leave)

    async def deliver(self, times: int) -> None:
        for _ in range(times):
            await self.delivery.deliver()
            self.clock.move(300)

    async def left(self) -> list[tuple[str, bool]]:
        """What is there, by key, and whether it was set aside."""
        rows = await self.database.read(
            lambda session: session.all("SELECT key, aside_at FROM outbox ORDER BY number")
        )
        return [(row[0], row[1] is not None) for row in rows]

    async def run(self, run_id: str) -> pb.Run:
        found: Any = await self.running.stub.GetRun(pb.GetRunRequest(run_id=run_id))
        made: pb.Run = found.run
        return made


@pytest.fixture(params=ENGINES)
async def post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    (tmp_path / "runs").mkdir()
    async with (
        database(request.param, tmp_path) as opened,
        a_service(tmp_path / "runs") as running,
    ):
        clock, words = Clock(), SqlOutbox(opened)
        receivers = {KIND: RpcRuns(running.channel, "there").put}
        delivery = Delivery(words, OwnTurns(), clock, receivers, seconds=0.01)
        yield Post(opened, running, clock, delivery, words)


async def test_it_is_tried_some_times_then_kept_and_what_is_behind_it_goes_on(post: Post) -> None:
    await post.leave("run/a", WRONG)
    await post.leave("run/a", {**BODY, "run_id": "a-run"})
    await post.deliver(REFUSALS - 1)
    assert await post.left() == [("run/a", False), ("run/a", False)]
    other = {**BODY, "run_id": "another-run"}
    await post.leave("run/b", WRONG)
    await post.leave("run/c", other)
    await post.deliver(1)
    assert (await post.run("a-run")).owner == "ada"
    assert (await post.run("another-run")).owner == "ada"
    assert await post.left() == [("run/b", False)]


async def test_it_stays_with_its_answer_until_it_is_tried_again_and_taken(post: Post) -> None:
    await post.leave("run/a", WRONG)
    await post.deliver(REFUSALS + 3)
    (aside,) = await post.outbox.list_aside(0, 10)
    assert (aside.key, aside.kind, aside.attempts) == ("run/a", KIND, REFUSALS)
    assert "name" in aside.problem
    assert aside.body == WRONG
    assert aside.created_at < aside.aside_at < post.clock()
    assert await post.outbox.aside() == {KIND: 1}
    assert await post.outbox.list_aside(aside.number, 10) == []
    # Tried again without a mend it is refused as before.
    assert await post.outbox.retry([aside.number + 1], post.clock()) == 0
    assert await post.outbox.retry([aside.number], post.clock()) == 1
    assert await post.left() == [("run/a", False)]
    await post.deliver(REFUSALS)
    assert await post.left() == [("run/a", True)]
    await _mend(post, aside.number)
    assert await post.outbox.retry([], post.clock()) == 1
    await post.deliver(1)
    assert await post.left() == []
    assert await post.outbox.aside() == {}


async def test_a_later_word_of_the_same_key_stands_for_one_that_was_set_aside(post: Post) -> None:
    await post.leave("run/a", WRONG)
    await post.deliver(REFUSALS)
    await post.leave("run/a", {**BODY, "visibility": "org_public"})
    await post.leave("run/b", WRONG)
    await post.deliver(1)
    # Told again, the older one would have made the run private again.
    assert await post.left() == [("run/b", False)]
    assert (await post.run(BODY["run_id"])).visibility == "org_public"


async def test_where_nobody_answers_it_is_tried_for_ever_in_its_order(post: Post) -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as nowhere:
        gone = Delivery(post.outbox, OwnTurns(), post.clock, {KIND: RpcRuns(nowhere, "gone").put})
        await post.leave("run/a", BODY)
        await post.leave("run/a", {**BODY, "visibility": "org_public"})
        for _ in range(REFUSALS + 2):
            await gone.deliver()
            post.clock.move(300)
    assert await post.left() == [("run/a", False), ("run/a", False)]
    await post.deliver(1)
    assert (await post.run(BODY["run_id"])).visibility == "org_public"


async def test_the_command_shows_what_is_set_aside_and_has_it_delivered_again(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    opened = await SqliteDatabase.open(storage / "asgard.sqlite3")
    words = SqlOutbox(SqliteSessions(opened))

    async def leave(session: Session) -> None:
        await outbox.leave(session, KIND, "run/a", WRONG, 1_000_000)

    await SqliteSessions(opened).write(leave)
    (word,) = await words.due(Clock()(), 10)
    await words.set_aside(word.number, Clock()(), "the name is too long")

    def asgard(*said: str, place: Path = storage) -> subprocess.CompletedProcess[str]:
        # A process of its own: the command says where the log of its process goes.
        command = [str(Path(sys.executable).with_name("asgard")), "outbox"]
        given = [*command, "--storage", str(place), *said]
        return subprocess.run(given, capture_output=True, text=True, check=False, timeout=120)

    shown = await asyncio.to_thread(asgard)
    assert shown.returncode == 0, shown.stderr
    assert "run/a" in shown.stdout
    (told,) = json.loads((await asyncio.to_thread(asgard, "--json")).stdout)
    assert (told["number"], told["problem"]) == (word.number, "the name is too long")
    missing = await asyncio.to_thread(asgard, "--retry", "4711")
    assert (missing.returncode, await words.aside()) == (1, {KIND: 1})
    again = await asyncio.to_thread(asgard, "--retry", str(word.number), "--json")
    assert json.loads(again.stdout) == {"retried": 1}
    now = datetime.now(UTC) + timedelta(hours=1)
    assert [each.number for each in await words.due(now, 10)] == [word.number]
    assert "nothing is set aside" in (await asyncio.to_thread(asgard)).stdout
    nowhere = await asyncio.to_thread(lambda: asgard(place=tmp_path / "none"))
    assert nowhere.returncode == 1
    await opened.close()


async def test_how_many_are_set_aside_is_told_to_prometheus(post: Post) -> None:
    await post.leave("run/a", WRONG)
    await post.deliver(REFUSALS)
    await _told(post, 1)
    await post.leave("run/a", BODY)
    await post.deliver(1)
    post.clock.move(60)
    await _told(post, 0)


async def _told(post: Post, count: int) -> None:
    running = asyncio.create_task(post.delivery.run())
    try:
        async with asyncio.timeout(20):
            labels = {"kind": KIND}
            # A gauge rings no bell.
            while REGISTRY.get_sample_value("asgard_outbox_aside", labels) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()


async def test_a_refusal_is_for_good_when_the_service_itself_gives_a_reason(post: Post) -> None:
    runs = RpcRuns(post.running.channel, "there")
    with pytest.raises(RefusedError):
        await runs.put(WRONG)
    async with grpc.aio.insecure_channel("127.0.0.1:1") as nowhere:
        with pytest.raises(StorageUnavailableError) as away:
            await RpcRuns(nowhere, "gone").put(BODY)
    assert not isinstance(away.value, RefusedError)


async def _mend(post: Post, number: int) -> None:
    async def mend(session: Session) -> None:
        await session.run("UPDATE outbox SET body = ? WHERE number = ?", json.dumps(BODY), number)

    await post.database.write(mend)
