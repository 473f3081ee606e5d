"""What an index tells of runs that not everybody may read, on every engine."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.run.rights import readers_of
from asgard_server.run.store import Change, Key, Position
from gimle.asgard.core.documents import RunDocument

from tests.contract.index_places import NOW, Shelf, a_result, a_run, open_index

ENGINES = ["sqlite", "postgres"]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(params=ENGINES)
async def index(request: pytest.FixtureRequest, shelf: Shelf, tmp_path: Path) -> AsyncIterator[Any]:
    async with open_index(request.param, shelf, tmp_path, batch=16) as opened:
        yield opened


def of(owner: str, run_id: str, **more: Any) -> RunDocument:
    """A run of somebody's, private unless `more` says otherwise."""
    fields = {name: more.pop(name) for name in ("created_at", "name", "metadata") if name in more}
    return a_run(run_id, extra={"owner": owner, "visibility": "private", **more}, **fields)


def keys(*principals: str) -> frozenset[str]:
    return frozenset((*principals, "everyone"))


async def paged(index: Any, by: frozenset[str], size: int, query: str = "") -> list[str]:
    """Ids of all pages; each is full but the last."""
    found: list[str] = []
    behind = None
    while True:
        rows, total = await index.list_runs(query, behind, size, by)
        found += [row.run.id for row in rows]
        if len(rows) < size:
            assert total == len(found), "the count tells what there is to see, and no more"
            return found
        behind = Position(rows[-1].run.created_at, rows[-1].run.id)


async def test_each_caller_sees_pages_and_counts_of_their_own_without_holes(
    index: Any, shelf: Shelf
) -> None:
    chance = random.Random(7)
    runs = []
    for n in range(120):
        owner = chance.choice(["alice", "bob", "", "shared", "open"])
        more: dict[str, Any] = {"created_at": NOW - timedelta(seconds=chance.randrange(40))}
        more["name"] = chance.choice(["heat flow", "pendulum"])
        if owner == "shared":
            more |= {"visibility": "org_public", "organization_id": "org_1"}
        if owner == "open":
            more |= {"visibility": "public"}
        runs.append(of(owner, f"r{n:03}", **more) if owner else a_run(f"r{n:03}", **more))
    await index.observe([shelf.put(run) for run in runs])
    in_order = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    for by in (keys("alice"), keys("bob", "org_1"), keys("nobody")):
        for query in ("", "heat", "he"):
            wanted = [
                run.id
                for run in in_order
                if (readers_of(run) is None or by & (readers_of(run) or set()))
                and query in run.name
            ]
            assert await paged(index, by, 7, query) == wanted
            rows, total = await index.list_runs(query, None, 3, by)
            assert (len(rows), total) == (3, len(wanted))
    _, everything = await index.list_runs("", None, 1)
    assert everything == 120


async def test_a_caller_of_a_thousand_teams_gets_the_same_pages(index: Any, shelf: Shelf) -> None:
    owners = [f"team_{n}" for n in range(0, 1_000, 9)]
    runs = [
        of(owner, f"r{n:03}", created_at=NOW - timedelta(seconds=n % 17))
        for n, owner in enumerate(owners)
    ]
    strangers = [of("else", f"s{n:03}") for n in range(40)]
    await index.observe([shelf.put(run) for run in [*runs, *strangers]])
    wanted = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    by = keys("me", *(f"team_{n}" for n in range(1_000)))
    assert await paged(index, by, 10) == [run.id for run in wanted]


async def test_pages_of_many_teams_are_the_same_wherever_their_runs_lie(
    index: Any, shelf: Shelf
) -> None:
    """Also where a few teams have the newest, and where everybody's lie in between."""
    chance = random.Random(11)
    runs = []
    for n in range(900):
        team = chance.randrange(3) if n < 150 else chance.randrange(300)
        at = NOW - timedelta(seconds=n // 2)
        made = a_run(f"r{n:03}", created_at=at)
        runs.append(made if n % 40 == 0 else of(f"team_{team}", f"r{n:03}", created_at=at))
    for first in range(0, len(runs), 100):
        await index.observe([shelf.put(run) for run in runs[first : first + 100]])
    wanted = [run.id for run in sorted(runs, key=lambda run: (run.created_at, run.id))][::-1]
    for some in (range(300), range(100, 300)):
        by = keys("me", *(f"team_{n}" for n in some))
        theirs = {run.id for run in runs if not (of_it := readers_of(run)) or by & of_it}
        for size in (5, 50):
            assert await paged(index, by, size) == [id for id in wanted if id in theirs]


async def test_a_count_is_of_now_and_of_who_asks(index: Any, shelf: Shelf) -> None:
    by = keys("alice", *(f"team_{n}" for n in range(80)))
    await index.forget()
    await index.rebuild([])  # whole from here on: while it is built nothing is remembered

    async def counted(who: frozenset[str]) -> int:
        return int((await index.list_runs("", None, 2, who))[1])

    await index.observe([shelf.put(of("alice", f"r{n}")) for n in range(5)])
    assert (await counted(by), await counted(by), await counted(keys("bob"))) == (5, 5, 0)
    await index.observe([shelf.put(of("team_7", "r5", readers=["alice", "team_7", "team_8"]))])
    assert await counted(by) == 6, "a run that three of them may read is one"
    await index.observe([shelf.put(of("bob", f"r{n}")) for n in range(2)])
    assert (await counted(by), await counted(keys("bob"))) == (4, 2)
    shelf.remove(Key("run", "r3"))
    await index.observe([Key("run", "r3")])
    assert await counted(by) == 3


async def test_a_run_that_changes_hands_is_found_by_its_new_readers_alone(
    index: Any, shelf: Shelf
) -> None:
    steps = [
        (of("alice", "r1"), {"alice"}),
        (of("alice", "r1", visibility="public"), {"alice", "bob"}),
        (of("bob", "r1"), {"bob"}),
        (a_run("r1"), {"alice", "bob"}),
        (of("alice", "r1", readers=["bob"], writers=["bob"]), {"bob"}),
        (of("alice", "r1", created_at=NOW - timedelta(days=1)), {"alice"}),
    ]
    for document, readers in steps:
        await index.observe([shelf.put(document)])
        for one in ("alice", "bob"):
            rows, total = await index.list_runs("", None, 5, keys(one))
            assert (len(rows), total) == ((1, 1) if one in readers else (0, 0)), document
    shelf.remove(Key("run", "r1"))
    await index.observe([Key("run", "r1")])
    assert await index.list_runs("", None, 5, keys("alice")) == ([], 0)


async def test_the_log_says_who_could_read_a_run_before_and_behind_each_change(
    index: Any, shelf: Shelf
) -> None:
    run, result = Key("run", "r1"), Key("result", "x1")
    await index.observe([shelf.put(of("alice", "r1")), shelf.put(a_result("x1", "r1"))])
    shown = of("alice", "r1", visibility="org_public", organization_id="org_1")
    await index.observe([shelf.put(shown)])
    await index.observe([shelf.put(a_run("r1"))])
    await index.observe([shelf.put(of("bob", "r1"))])
    for key in (run, result):
        shelf.remove(key)
    await index.observe([run, result])
    alice, both, bob = keys2("alice"), keys2("alice", "org_1"), keys2("bob")
    nobody: frozenset[str] = frozenset()
    assert await index.changes(0, 10) == [
        Change(1, run, "r1", False, nobody, alice),
        Change(2, result, "r1", False),
        Change(3, run, "r1", False, alice, both),
        Change(4, run, "r1", False, both, None),
        Change(5, run, "r1", False, None, bob),
        Change(6, run, "r1", True, bob, nobody),
        Change(7, result, "r1", True, bob, nobody),
    ]


def keys2(*principals: str) -> frozenset[str]:
    return frozenset(principals)


async def test_news_tell_who_may_read_the_runs_of_results(index: Any, shelf: Shelf) -> None:
    documents = [
        *(of("alice", "r1"), a_run("r2")),
        *(a_result("x1", "r1"), a_result("x2", "r2"), a_result("x3", "none")),
    ]
    await index.observe([shelf.put(document) for document in documents])
    epoch, _ = await index.head()
    news = await index.news(epoch, 0, 10)
    assert news.circles == {"r1": frozenset({"alice"}), "r2": None}
    assert await index.circles(["r1", "r2", "none"]) == news.circles
    assert await index.circles([]) == {}


async def test_a_walk_shows_a_caller_what_they_may_read(index: Any, shelf: Shelf) -> None:
    documents = [
        *(of("alice", "r1"), of("bob", "r2"), a_run("r3")),
        *(a_result("x1", "r1"), a_result("x2", "r2"), a_result("x3", "r3")),
        a_result("x4", "none"),
    ]
    await index.observe([shelf.put(document) for document in documents])
    runs = await index.walk("run", "", 10, keys("alice"))
    assert [row.run.id for row in runs] == ["r1", "r3"]
    results = await index.walk("result", "", 10, keys("alice"))
    assert [row.id for row in results] == ["x1", "x3"]
    assert len(await index.walk("result", "", 10)) == 4


async def test_a_rebuild_derives_who_may_read_from_the_documents(index: Any, shelf: Shelf) -> None:
    documents = [
        *(of("alice", "r1"), of("bob", "r2", readers=["alice"]), of("bob", "r3"), a_run("r4")),
        a_run("r5", metadata={"owner": "a word"}),
    ]
    for document in documents:
        shelf.put(document)
    await index.forget()
    await index.rebuild([("result", shelf.listing("result")), ("run", shelf.listing("run"))])
    rows, total = await index.list_runs("", None, 9, keys("alice"))
    assert {row.run.id for row in rows} == {"r1", "r2", "r4", "r5"}
    assert total == 4
    found = await index.circles(["r1", "r2", "r3"])
    assert found == {"r1": {"alice"}, "r2": {"alice"}, "r3": {"bob"}}


async def test_what_a_document_says_of_its_owner_in_no_words_is_nobodys(
    index: Any, shelf: Shelf
) -> None:
    shelf.put_bytes(Key("run", "r1"), b'{"id":"r1","name":"odd","owner":7}')
    shelf.put_bytes(Key("run", "r2"), b'{"id":"r2","name":"odd","owner":null}')
    await index.observe([Key("run", "r1"), Key("run", "r2")])
    rows, total = await index.list_runs("", None, 9, keys("alice"))
    assert ([row.run.id for row in rows], total) == (["r2"], 1)
    assert (await index.list_runs("", None, 9))[1] == 2
