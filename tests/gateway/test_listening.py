"""Who is told what of a change, and what that costs: the gateway over logs that a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.gateway.event_stream import Streams
from asgard_server.gateway.followed import Followed
from asgard_server.gateway.listening import Listener, Listeners
from asgard_server.gateway.ring import Entry, Ring
from asgard_server.gateway.told import EVERYBODY, Readers, told_of_asset, told_of_run
from asgard_server.gateway.updates import Updates
from asgard_server.watching.readers import said
from gimle.asgard.v1 import run_service_pb2 as runs_pb
from gimle.asgard.v1 import watch_assets_pb2 as assets_pb

ALICE, BOB = Principal("alice", teams=frozenset(("team",))), Principal("bob")


class Written:
    """A service's watch that says what a test writes."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.revision = 0
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._checkpoint()

    def _checkpoint(self) -> None:
        message = self.response(resume_token=f"t{self.revision}", revision=self.revision)
        message.checkpoint.SetInParent()
        self._messages.put_nowait(message)

    def write(self, *changes: dict[str, Any]) -> None:
        """Say this in one message."""
        message = self.response()
        for change in changes:
            self.revision += 1
            token = f"t{self.revision}"
            message.changes.add(**change, revision=self.revision, resume_token=token)
        message.resume_token, message.revision = f"t{self.revision}", self.revision
        self._messages.put_nowait(message)

    def __call__(self, request: Any) -> Written:
        return self

    def cancel(self) -> None:
        """Nobody is left to tell."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            yield await self._messages.get()


class Gateway:
    """A gateway's streams over a log of runs and one of assets."""

    def __init__(self) -> None:
        self.runs = Written(runs_pb.WatchRunsResponse)
        self.assets = Written(assets_pb.WatchAssetsResponse)
        self.updates = Updates(
            [
                Followed(0, "runs", self.runs, runs_pb.WatchRunsRequest, told_of_run),
                Followed(1, "assets", self.assets, assets_pb.WatchAssetsRequest, told_of_asset),
            ],
            Streams(),
        )

    def asset(
        self, id: str, before: tuple[str, ...], after: tuple[str, ...], kind: int = 1
    ) -> None:
        """An asset changes that these could and can read."""
        change: dict[str, Any] = {"kind": kind, "object_kind": "asset", "object_id": id}
        self.assets.write({**change, "readers_before": before, "readers_after": after})

    async def holds(self, count: int) -> None:
        """Wait until the gateway has taken so many events."""
        async with asyncio.timeout(20):
            while self.updates.ring.end < count:  # noqa: ASYNC110 - a look at its memory
                await asyncio.sleep(0.001)


@asynccontextmanager
async def a_gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    following = asyncio.create_task(gateway.updates.run())
    try:
        yield gateway
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def events(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, str]]:
    """So many events, as what happened to which."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for line in (await anext(stream)).split(b"\n"):
                if line.startswith(b"data: "):
                    event = orjson.loads(line[6:])
                    found.append((event["type"], event.get("object_id", "")))
    return found


@pytest.mark.parametrize(
    ("seen", "kept", "lost", "what"),
    [
        ({"a"}, {"a"}, set(), "change"),
        ({"a"}, {"a"}, {"a"}, "change"),
        (set(), set(), {"a"}, "gone"),
        (set(), {"a"}, {"a"}, None),
        ({"b"}, {"b"}, {"b"}, None),
        ({"b"}, {"b"}, {"a", "b"}, "gone"),
        (set(), set(), set(), None),
    ],
)
def test_the_rule_says_for_each_caller_what_is_told(
    seen: set[str], kept: set[str], lost: set[str], what: str | None
) -> None:
    assert said({"a", "c"}, seen=seen, kept=kept, lost=lost) == what


async def test_each_hears_of_what_it_may_read_and_who_sees_everything_of_all() -> None:
    async with a_gateway() as gateway:
        streams = [gateway.updates.events("", who) for who in (ALICE, BOB, LOCAL, None)]
        for stream in streams:
            assert await events(stream, 1) == [("connected", "")]
        alice, bob, *all_seers = streams
        gateway.asset("one", (), ("alice",))
        gateway.asset("two", (), ("team", "bob"))
        gateway.asset("one", ("alice",), ("alice", "bob"))
        gateway.asset("two", ("team", "bob"), ("bob",))
        gateway.asset("one", ("alice", "bob"), (), kind=2)
        gateway.asset("end", (), ("everyone",))
        one, two, end = ("update", "one"), ("update", "two"), ("update", "end")
        gone = [("delete", "one"), ("delete", "two")]
        assert await events(alice, 6) == [one, two, one, gone[1], gone[0], end]
        assert await events(bob, 5) == [two, one, two, gone[0], end]
        for stream in all_seers:
            assert await events(stream, 6) == [one, two, one, two, gone[0], end]


async def test_what_is_gone_by_now_is_told_once_to_who_could_read_it_until_it_went() -> None:
    """The update is read when the asset has gone already: its delete is a later entry."""
    async with a_gateway() as gateway:
        stream = gateway.updates.events("", ALICE)
        await events(stream, 1)
        gateway.asset("one", (), ("alice",), kind=2)
        gateway.asset("one", ("alice",), (), kind=2)
        gateway.asset("end", (), ("everyone",))
        assert await events(stream, 2) == [("delete", "one"), ("update", "end")]


async def test_a_guarded_run_is_told_to_its_readers_and_another_to_everybody() -> None:
    async with a_gateway() as gateway:
        stream = gateway.updates.events("", ALICE)
        await events(stream, 1)
        run: dict[str, Any] = {"kind": 1, "object_type": 1}
        gateway.runs.write(
            {**run, "object_id": "hidden", "guarded": True, "readers_after": ("bob",)},
            {**run, "object_id": "nobody's", "guarded": True},
            {**run, "object_id": "hers", "guarded": True, "readers_after": ("team",)},
            {**run, "object_id": "open"},
            {**run, "object_id": "open", "kind": 2},
        )
        assert await events(stream, 3) == [
            ("update", "hers"),
            ("update", "open"),
            ("delete", "open"),
        ]


async def test_what_comes_without_readers_of_a_kind_that_has_them_is_nobodys() -> None:
    """A service that does not know the gateway for one says no readers."""
    async with a_gateway() as gateway:
        stream = gateway.updates.events("", ALICE)
        await events(stream, 1)
        gateway.asset("one", (), ())
        gateway.asset("end", (), ("everyone",))
        assert await events(stream, 1) == [("update", "end")]


def test_a_change_wakes_those_whom_it_concerns_and_nobody_else() -> None:
    listeners = Listeners()
    many = [Listener(Principal(f"user-{number}")) for number in range(1_000)]
    for each in many:
        listeners.enter(each)
    some = frozenset(("user-7", "user-8"))
    listeners.address(0, Readers(some, some, frozenset(("user-9",))))
    listeners.wake()
    woken = [number for number, each in enumerate(many) if each.woken.is_set()]
    assert woken == [7, 8, 9]
    assert [number for number, each in enumerate(many) if each.due] == woken
    listeners.address(1, EVERYBODY)
    listeners.wake()
    assert all(each.woken.is_set() for each in many)
    listeners.leave(many[7])
    listeners.address(2, Readers(some, some, frozenset()))
    assert (list(many[7].due), list(many[8].due)) == ([0, 1], [0, 1, 2])


async def test_who_reads_too_slowly_for_the_ring_is_let_go_and_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asgard_server.gateway.following.Ring", partial(Ring, max_entries=20))
    async with a_gateway() as gateway:
        stream = gateway.updates.events("", ALICE)
        await events(stream, 1)
        gateway.asset("first", (), ("alice",))
        assert await events(stream, 1) == [("update", "first")]
        for number in range(30):
            gateway.asset(f"{number}", (), ("alice",))
        await gateway.holds(31)
        with pytest.raises(StopAsyncIteration):
            await events(stream, 1)


async def test_who_is_not_concerned_is_not_too_slow_whatever_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asgard_server.gateway.following.Ring", partial(Ring, max_entries=20))
    async with a_gateway() as gateway:
        stream = gateway.updates.events("", BOB)
        await events(stream, 1)
        gateway.asset("first", (), ("bob",))
        assert await events(stream, 1) == [("update", "first")]
        waiting = asyncio.create_task(events(stream, 1))
        for number in range(100):
            gateway.asset(f"{number}", (), ("alice",))
        await gateway.holds(101)
        gateway.asset("last", (), ("bob",))
        assert await waiting == [("update", "last")]


async def test_who_comes_back_is_told_from_memory_what_it_may_read() -> None:
    async with a_gateway() as gateway:
        stream = gateway.updates.events("", ALICE)
        (connected,) = [
            line for line in (await anext(stream)).split(b"\n") if line.startswith(b"id: ")
        ]
        gateway.asset("hers", (), ("alice",))
        gateway.asset("his", (), ("bob",))
        gateway.asset("lost", ("alice",), ("bob",))
        await gateway.holds(3)
        again = gateway.updates.events(connected[4:].decode(), ALICE)
        assert await events(again, 3) == [
            ("connected", ""),
            ("update", "hers"),
            ("delete", "lost"),
        ]
        # An id says whose it is: what another has missed is not what this one has.
        other = gateway.updates.events(connected[4:].decode(), BOB)
        assert await events(other, 2) == [("connected", ""), ("reset", "")]


def test_readers_count_among_the_bytes_that_are_kept() -> None:
    ring = Ring(max_bytes=10_000)
    many = frozenset(f"user-{number}" for number in range(100))
    for revision in range(10):
        ring.append(Entry(revision, "", b"text", readers=Readers(many, many, frozenset())))
    assert len(ring) == 1
