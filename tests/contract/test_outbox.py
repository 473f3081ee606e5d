"""What was left to be done elsewhere is done, in order, and once more where it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.outbox.delivery import Delivery, pause
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import outbox
from asgard_server.store.sql.asset_upkeep import OwnTurns
from asgard_server.store.sql.outbox import SqlOutbox
from asgard_server.store.sql.session import Database, Session

from tests.contract.experiment_homes import Clock
from tests.contract.sql_homes import ENGINES, database


class Receiver:
    """Notes what it is told; refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuses: set[str] = set()

    async def __call__(self, body: Mapping[str, Any]) -> None:
        self.told.append(body["text"])
        if body["text"] in self.refuses:
            raise ConnectionError(f"nobody takes {body['text']}")


class Post:
    """An outbox with who receives what is in it."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock, self.receiver = database, Clock(), Receiver()
        self.delivery = self.a_delivery()

    def a_delivery(self) -> Delivery:
        return Delivery(SqlOutbox(self.database), OwnTurns(), self.clock, {"letter": self.receiver})

    async def leave(self, key: str, text: str) -> None:
        async def leave(session: Session) -> None:
            await outbox.leave(session, "letter", key, {"text": text}, micros(self.clock()))

        await self.database.write(leave)

    async def left(self) -> list[tuple[int, str | None]]:
        """How often each was tried, and what the problem was."""
        rows = await self.database.read(
            lambda session: session.all("SELECT attempts, problem FROM outbox ORDER BY number")
        )
        return [(row[0], row[1]) for row in rows]


@pytest.fixture(params=ENGINES)
async def post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    async with database(request.param, tmp_path) as opened:
        yield Post(opened)


async def test_what_has_one_key_is_done_in_the_order_in_which_it_was_left(post: Post) -> None:
    for number in range(60):
        await post.leave("a", f"a{number}")
        await post.leave("b", f"b{number}")
    assert await post.delivery.deliver() == 120
    for key in "ab":
        mine = [text for text in post.receiver.told if text.startswith(key)]
        assert mine == [f"{key}{number}" for number in range(60)]
    assert await post.left() == []


async def test_what_fails_waits_longer_each_time_and_keeps_back_only_its_own_key(
    post: Post,
) -> None:
    post.receiver.refuses = {"a1"}
    for key, text in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        await post.leave(key, text)
    assert await post.delivery.deliver() == 1
    assert sorted(post.receiver.told) == ["a1", "b1"]
    assert await post.left() == [(1, "nobody takes a1"), (0, None)]
    assert await post.delivery.deliver() == 0
    for attempt, waits in enumerate((1, 2, 4)):
        post.clock.move(waits - 0.1)
        assert await post.delivery.deliver() == 0
        assert post.receiver.told.count("a1") == attempt + 1
        post.clock.move(0.1)
        assert await post.delivery.deliver() == 0
        assert post.receiver.told.count("a1") == attempt + 2
    post.receiver.refuses = set()
    post.clock.move(8)
    assert await post.delivery.deliver() == 2
    assert post.receiver.told[-2:] == ["a1", "a2"]


async def test_two_who_deliver_at_once_leave_nothing_and_keep_the_order(post: Post) -> None:
    for number in range(20):
        await post.leave("a", str(number))
    await asyncio.gather(post.delivery.deliver(), post.a_delivery().deliver())
    assert await post.left() == []
    first = [text for place, text in enumerate(post.receiver.told)
             if text not in post.receiver.told[:place]]  # fmt: skip
    assert first == [str(number) for number in range(20)]


async def test_what_nobody_receives_is_kept_and_its_problem_noted(post: Post) -> None:
    async def leave(session: Session) -> None:
        await outbox.leave(session, "parcel", "a", {"text": "x"}, micros(post.clock()))

    await post.database.write(leave)
    assert await post.delivery.deliver() == 0
    assert await post.left() == [(1, "'parcel'")]


async def test_who_is_woken_delivers_before_its_time(post: Post) -> None:
    delivery = Delivery(
        SqlOutbox(post.database), OwnTurns(), post.clock, {"letter": post.receiver}, seconds=3_600
    )
    running = asyncio.create_task(delivery.run())
    try:
        for text in ("first", "second"):
            await post.leave("a", text)
            delivery.wake()
            async with asyncio.timeout(40):
                while text not in post.receiver.told:  # noqa: ASYNC110 - it says nothing of it
                    await asyncio.sleep(0.01)
    finally:
        running.cancel()


def test_no_pause_is_longer_than_five_minutes_however_often_it_failed() -> None:
    assert [pause(attempts).total_seconds() for attempts in (0, 1, 8, 9)] == [1, 2, 256, 300]
    assert pause(100_000) == timedelta(minutes=5)
