"""Flags, search and lineage of assets, on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgard_server.asset.access_store import Place, Wanted
from asgard_server.asset.domain import Asset
from asgard_server.asset.finding import words_of
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import asset_log, asset_rows, asset_texts, links
from asgard_server.store.sql.finding import SqlFinding
from asgard_server.store.sql.flags import SqlFlags
from asgard_server.store.sql.retracting import retract
from asgard_server.store.sql.session import Database, Session
from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError

from tests.contract.asset_rows import ADA, BEN, CLEO, NOON, an_asset, an_experiment, people
from tests.contract.sql_homes import ENGINES, database

NOW = datetime(2026, 11, 29, 13, tzinfo=UTC)


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(people)
        yield opened


# Flags ------------------------------------------------------------------------------------


async def test_a_flag_is_set_replaced_taken_back_and_remembered(sessions: Database) -> None:
    flags = SqlFlags(sessions)
    await sessions.write(lambda session: an_asset(session, "a", readers=["ben"]))
    said = await flags.set("a", "deprecated", "superseded", ADA, NOW)
    assert said.deprecated is not None
    assert (said.deprecated.reason, said.deprecated.set_by) == ("superseded", "ada")
    assert said.state == "ready"
    await flags.set("a", "deprecated", "superseded", ADA, NOW)
    await flags.set("a", "deprecated", "superseded by b", ADA, NOW)
    said = await flags.set("a", "invalidated", "wrong labels", ADA, NOW)
    assert said.invalidated is not None
    back = await flags.clear("a", ["deprecated", "invalidated"], "checked", ADA, NOW)
    assert (back.deprecated, back.invalidated) == (None, None)
    assert await flags.clear("a", ["invalidated"], "checked", ADA, NOW) == back
    history = await flags.history("a", BEN, None, 10)
    assert [(each.flag, each.is_set, each.reason) for each in history] == [
        ("invalidated", False, "checked"),
        ("deprecated", False, "checked"),
        ("invalidated", True, "wrong labels"),
        ("deprecated", True, "superseded by b"),
        ("deprecated", True, "superseded"),
    ]
    assert await flags.history("a", BEN, history[1].number, 2) == history[2:4]
    assert (await sessions.look(asset_log.head))[1] == 4
    with pytest.raises(ForbiddenError):
        await flags.set("a", "invalidated", "no", BEN, NOW)
    with pytest.raises(NotFoundError):
        await flags.clear("a", ["invalidated"], "no", Principal("dan"), NOW)


# Search -----------------------------------------------------------------------------------


async def text(
    session: Session,
    id: str,
    *,
    name: str = "",
    content: str = "",
    asset_type: str = "dataset",
    state: str = "ready",
    readers: Sequence[str] = (),
    minutes: int = 0,
    metadata: str | None = None,
) -> Asset:
    await an_asset(
        session,
        id,
        name=name or None,
        asset_type=asset_type,
        state=state,
        readers=readers,
        at=NOON + minutes,
    )
    asset = replace(await asset_rows.load(session, id), metadata_json=metadata)
    await asset_texts.put_text(session, asset, content)
    return asset


async def search(sessions: Database, query: str, by: Principal = ADA, **more: object) -> list[str]:
    wanted = Wanted(words=words_of(query), **more)  # type: ignore[arg-type]
    found = await SqlFinding(sessions).search(wanted, by, None, 100)
    assert found.total == len(found.hits)
    return [each.asset.id for each in found.hits]


async def test_words_are_found_in_names_types_texts_and_metadata_best_first(
    sessions: Database,
) -> None:
    async def fill(session: Session) -> None:
        await text(session, "content", content="The Reynolds number of the flow", minutes=5)
        await text(session, "name", name="runs/reynolds-2000.npz", minutes=1)
        await text(session, "type", asset_type="reynolds_sweep", minutes=2)
        await text(session, "metadata", metadata='{"about": "reynolds"}', minutes=9)
        await text(session, "accents", name="Écoulement à Noël", minutes=3)
        await text(session, "other", content="nothing of that", minutes=8)

    await sessions.write(fill)
    assert await search(sessions, "reynolds") == ["name", "type", "metadata", "content"]
    assert await search(sessions, "REYN") == ["name", "type", "metadata", "content"]
    assert await search(sessions, "2000") == ["name"]
    assert await search(sessions, "npz reynolds") == ["name"]
    assert await search(sessions, "reyn number") == []  # only the last may go on
    assert await search(sessions, "number reyn") == ["content"]
    assert await search(sessions, "ecoulement noel") == ["accents"]
    assert await search(sessions, "Écoul") == ["accents"]
    assert len(await search(sessions, "")) == 6


HOSTILE = [
    '"',
    "'",
    "';DROP TABLE assets;--",
    'reynolds" OR "x',
    "name:reynolds",
    "{name} : secret",
    "NEAR(a b, 3)",
    "a AND NOT b",
    "^reynolds",
    "reynolds*",
    "*",
    "reynolds:*A | secret",
    "!reynolds",
    "<->",
    "(((",
    "\\",
    "%_%",
    "\x00",
    "a\x00b",
    "reynolds & !secret",
    "-reynolds",
    "+reynolds",
    "'::tsquery",
    "$$",
    "\ud7ff￿",
    "🙂",
]


@pytest.mark.parametrize("query", HOSTILE)
async def test_nothing_in_a_query_is_syntax(sessions: Database, query: str) -> None:
    async def fill(session: Session) -> None:
        await text(session, "a", name="reynolds")
        await text(session, "b", content="the secret of somebody", readers=["ben"])

    await sessions.write(fill)
    words = words_of(query)
    hopeless = not words and bool(query.strip())
    wanted = Wanted(words=words, is_hopeless=hopeless)
    found = await SqlFinding(sessions).search(wanted, BEN, None, 10)
    # Ben reads b alone, and finds it only by words that are in it.
    assert {each.asset.id for each in found.hits} <= {"b"}
    if words:
        there = {"the", "secret", "of", "somebody", "dataset"}
        fits = all(word in there for word in words[:-1]) and any(
            each.startswith(words[-1]) for each in there
        )
        assert bool(found.hits) == fits


async def test_what_the_caller_may_not_read_is_neither_found_nor_counted(
    sessions: Database,
) -> None:
    async def fill(session: Session) -> None:
        for number in range(30):
            readers = [["ben"], ["org_acme"], []][number % 3]
            await text(session, f"a{number:02}", content="wave", readers=readers, minutes=number)

    await sessions.write(fill)
    finding = SqlFinding(sessions)
    for words in (("wave",), ()):
        for by, count in ((ADA, 30), (BEN, 20), (CLEO, 10), (Principal("dan"), 0), (LOCAL, 30)):
            found = await finding.search(Wanted(words=words), by, None, 100)
            assert (len(found.hits), found.total, found.is_more) == (count, count, False)
            assert sum(each for _, each in found.types) == count
            assert sum(each for _, each in found.states) == count


async def test_pages_of_what_was_found_are_whole_and_filters_hold(sessions: Database) -> None:
    chance = random.Random(7)

    async def fill(session: Session) -> None:
        for number in range(40):
            await text(
                session,
                f"a{number:02}",
                name="wave" if number % 3 == 0 else "x",
                content="wave",
                asset_type=["dataset", "checkpoint"][number % 2],
                state=["ready", "ready", "pending"][number % 3],
                minutes=chance.randrange(5),
                readers=["ben"],
            )
        await an_experiment(session, "e", by="ada")
        wish = links.Link("a00", "input", "e", linked_by="ada", linked_at=NOON)
        await links.link(session, wish, ADA)

    await sessions.write(fill)
    finding = SqlFinding(sessions)
    whole = await finding.search(Wanted(words=("wave",)), BEN, None, 100)
    places = [each.place for each in whole.hits]
    assert places == sorted(places, reverse=True)
    assert [each.fit for each in places] == [2] * 14 + [0] * 26
    found: list[Place] = []
    while True:
        behind = found[-1] if found else None
        page = await finding.search(Wanted(words=("wave",)), BEN, behind, 7)
        found += [each.place for each in page.hits]
        assert page.total == 40
        if len(page.hits) < 7:
            break
    assert found == places
    assert dict(whole.types) == {"dataset": 20, "checkpoint": 20}
    assert dict(whole.states) == {"ready": 27, "pending": 13}
    assert len(await search(sessions, "wave", asset_types=("checkpoint",))) == 20
    assert len(await search(sessions, "wave", states=("pending",))) == 13
    assert len(await search(sessions, "wave", owner="@ada")) == 40
    assert await search(sessions, "wave", owner="@ben") == []
    assert await search(sessions, "wave", owner="@nobody") == []
    assert await search(sessions, "", linked_to="e") == ["a00"]
    late = NOW - timedelta(hours=1) + timedelta(microseconds=3)
    after = await finding.search(Wanted(words=("wave",), created_after=late), BEN, None, 100)
    assert 0 < after.total < 40
    assert all(each.place.created_at > micros(late) for each in after.hits)


async def test_a_snippet_shows_where_the_first_word_is_as_plain_text(sessions: Database) -> None:
    filler = "lorem ipsum " * 100

    async def fill(session: Session) -> None:
        await text(session, "a", content=f"{filler}\n<b>the Reynolds\tnumber</b>{filler}")

    await sessions.write(fill)
    found = await SqlFinding(sessions).search(Wanted(words=("reynolds",)), ADA, None, 1)
    assert "<b>the Reynolds number</b>" in found.hits[0].snippet
    assert len(found.hits[0].snippet) <= 200


async def test_search_forgets_what_changed_and_what_is_gone(sessions: Database) -> None:
    async def fill(session: Session) -> None:
        await text(session, "a", name="wave", content="ocean", metadata='{"k": "storm"}')

    async def change(session: Session) -> None:
        asset = replace(await asset_rows.load(session, "a"), metadata_json='{"k": "calm"}')
        await asset_texts.put_metadata(session, asset)

    await sessions.write(fill)
    assert await search(sessions, "storm") == ["a"]
    await sessions.write(change)
    assert await search(sessions, "storm") == []
    assert await search(sessions, "wave ocean calm") == ["a"]
    await sessions.write(lambda session: asset_texts.forget_content(session, "a"))
    assert (await search(sessions, "ocean"), await search(sessions, "calm")) == ([], ["a"])
    await sessions.write(lambda session: asset_texts.forget_text(session, "a"))
    assert await search(sessions, "wave") == []


async def test_a_text_of_many_different_words_is_taken(sessions: Database) -> None:
    """PostgreSQL refuses more words than a megabyte holds."""
    words = " ".join(f"w{number:x}öäü" for number in range(60_000))

    async def fill(session: Session) -> None:
        await text(session, "a", name="large", content=words)
        await text(session, "b", content="x" * 500_000)

    await sessions.write(fill)
    assert await search(sessions, "large w1") == ["a"]


def test_a_query_is_of_bounded_length() -> None:
    with pytest.raises(InvalidFieldError, match="query"):
        words_of("a" * 1_001)
    with pytest.raises(InvalidFieldError, match="query"):
        words_of("a " * 33)


# Lineage ----------------------------------------------------------------------------------


async def linked(
    session: Session, id: str, direction: str, experiment_id: str, variation: int | None
) -> None:
    as_input = direction == "input"
    wish = links.Link(
        id,
        "input" if as_input else "output",
        experiment_id,
        variation,
        linked_by="ada",
        linked_at=NOON,
    )
    await links.link(session, wish, ADA)


async def chain(session: Session, length: int, readers: Sequence[str] = ()) -> None:
    """a0 into e0, of which a1 comes, into e1, and so on; each through variation 1."""
    await an_asset(session, "a0", readers=readers)
    for step in range(length):
        await an_experiment(session, f"e{step}", readers=readers)
        await an_asset(session, f"a{step + 1}", readers=readers)
        for direction, id in (("input", f"a{step}"), ("output", f"a{step + 1}")):
            await linked(session, id, direction, f"e{step}", 1)


async def test_lineage_leads_up_and_down_to_a_depth(sessions: Database) -> None:
    finding = SqlFinding(sessions)
    await sessions.write(lambda session: chain(session, 4))

    async def distances(up: bool, down: bool, depth: int) -> tuple[dict[str, int], bool]:
        found = await finding.lineage("a2", ADA, up=up, down=down, depth=depth)
        return {each.id: each.distance for each in found.nodes}, found.is_cut

    assert await distances(True, False, 20) == (
        {"a2": 0, "e1": -1, "a1": -2, "e0": -3, "a0": -4},
        False,
    )
    assert await distances(False, True, 2) == ({"a2": 0, "e2": 1, "a3": 2}, True)
    assert await distances(True, True, 1) == ({"a2": 0, "e1": -1, "e2": 1}, True)
    both, cut = await distances(True, True, 4)
    assert (len(both), cut) == (9, False)
    whole = await finding.lineage("a2", ADA, up=True, down=True, depth=4)
    assert {(e.asset_id, e.experiment_id, e.direction, e.variation) for e in whole.edges} == {
        *((f"a{step}", f"e{step}", "input", 1) for step in range(4)),
        *((f"a{step + 1}", f"e{step}", "output", 1) for step in range(4)),
    }


async def test_lineage_ends_where_the_caller_may_not_read(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await chain(session, 3, readers=["ben"])
        for id in ("a1", "e2"):
            await session.run("DELETE FROM readers WHERE object_id = ? AND principal = 'ben'", id)
            await session.run("DELETE FROM grants WHERE object_id = ? AND principal = 'ben'", id)

    await sessions.write(work)
    finding = SqlFinding(sessions)
    found = await finding.lineage("a2", BEN, up=True, down=True, depth=10)
    assert {each.id for each in found.nodes} == {"a2", "e1"}
    assert {each.asset_id for each in found.edges} == {"a2"}
    assert not found.is_cut
    with pytest.raises(NotFoundError):
        await finding.lineage("a1", BEN, up=True, down=True, depth=10)


async def test_lineage_keeps_variations_apart_and_shows_why_things_are_invalid(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        await an_experiment(session, "e")
        for id, direction, variation in (
            ("in1", "input", 1),
            ("in2", "input", 2),
            ("all", "input", None),
            ("out1", "output", 1),
            ("out2", "output", 2),
        ):
            await an_asset(session, id)
            await linked(session, id, direction, "e", variation)
        await retract(session, "e", 1, "wrong seed", ADA, NOON)

    await sessions.write(work)
    finding = SqlFinding(sessions)

    async def reached(id: str) -> set[str]:
        found = await finding.lineage(id, ADA, up=True, down=True, depth=2)
        return {each.id for each in found.nodes} - {id, "e"}

    assert await reached("out1") == {"in1", "all"}
    assert await reached("in2") == {"out2"}
    assert await reached("all") == {"out1", "out2"}
    found = await finding.lineage("in1", ADA, up=False, down=True, depth=2)
    node = next(each for each in found.nodes if each.id == "out1")
    assert node.invalidated is not None
    assert (node.invalidated.reason, node.invalidated.retraction) == ("wrong seed", "variation:e/1")


async def test_a_circle_and_a_crowd_end(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await chain(session, 1)
        wish = links.Link("a0", "output", "e0", 1, linked_by="ada", linked_at=NOON)
        await links.link(session, wish, ADA)
        await an_experiment(session, "crowd")
        await session.many(
            "INSERT INTO assets (id, asset_type, state, kind, content_type, created_at,"
            " updated_at, created_by, visibility, request_digest)"
            " VALUES (?, 'x', 'ready', 'inline', 'x', 0, 0, 'ada', 'private', '')",
            [(f"c{number:05}",) for number in range(1_500)],
        )
        await session.many(
            "INSERT INTO readers VALUES ('asset', 'ada', 0, ?)",
            [(f"c{number:05}",) for number in range(1_500)],
        )
        await session.many(
            "INSERT INTO asset_links (asset_id, direction, experiment_id, linked_by, linked_at)"
            " VALUES (?, 'output', 'crowd', 'ada', 0)",
            [(f"c{number:05}",) for number in range(1_500)],
        )
        into = links.Link("a0", "input", "crowd", linked_by="ada", linked_at=NOON)
        await links.link(session, into, ADA)

    await sessions.write(work)
    found = await SqlFinding(sessions).lineage("a0", ADA, up=True, down=True, depth=20)
    assert len(found.nodes) == 1_000
    assert found.is_cut
