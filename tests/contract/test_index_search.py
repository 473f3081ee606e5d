"""Free text search of every `RunIndex`, against looking at each run by hand."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from asgard_server.run.store import Key, Position
from asgard_server.store import postgres_search, sqlite_search
from gimle.asgard.core.documents import RunDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.index_places import NOW, Shelf, a_run, open_index

ENGINES = ["sqlite", "postgres"]

# Few letters, so that words occur in one another; some that fold to more letters, some that
# mean something to SQL or to a full text query, and a few beyond the basic plane.
LETTERS = (
    "abAB01ßẞſKıİéÉΣςσ"  # noqa: RUF001 - look-alikes are the point
    "\"'*()%_-^:{}\\😀𝒳 \t\n\0"  # noqa: RUF001 - as above
)
texts = st.text(LETTERS, max_size=12)


def fields_of(run: RunDocument) -> list[str]:
    found = [run.name, run.equation or "", run.circuit or "", run.note or "", *run.tags]
    waiting = [run.metadata]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            # Not a look-up by value: to Python 0 is False, and 1 is True.
            named = value is None or isinstance(value, bool)
            found.append(orjson.dumps(value).decode() if named else str(value))
    return [text.casefold().replace("\0", " ") for text in found]


def matches(run: RunDocument, query: str) -> bool:
    words = query.casefold().replace("\0", " ").split()
    fields = fields_of(run)
    return all(any(word in field for field in fields) for word in words)


def by_hand(runs: Iterable[RunDocument], query: str) -> list[str]:
    found = [run for run in runs if matches(run, query)]
    return [r.id for r in sorted(found, key=lambda r: (r.created_at, r.id), reverse=True)]


async def pages(index: Any, query: str, size: int) -> tuple[list[str], set[int]]:
    ids: list[str] = []
    totals: set[int] = set()
    behind = None
    while True:
        rows, total = await index.list_runs(query, behind, size)
        totals.add(total)
        ids += [row.run.id for row in rows]
        if len(rows) < size:
            return ids, totals
        behind = Position(rows[-1].run.created_at, rows[-1].run.id)


values = st.recursive(
    texts | st.integers(-99, 99) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
runs_strategy: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        name=texts,
        equation=st.none() | texts,
        circuit=st.none() | texts,
        note=st.none() | texts,
        tags=st.lists(texts, max_size=2).map(tuple),
        metadata=st.dictionaries(texts, values, max_size=2),
        # Many of one millisecond, some of one microsecond, some before 1970.
        created_at=st.sampled_from([0, 1, 2, 999, 1_000, 5_000_000, 10**16]).map(
            lambda micros: NOW - timedelta(microseconds=micros)
        ),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(runs=runs_strategy, data=st.data())
async def test_a_search_finds_exactly_what_looking_at_each_run_finds(
    engine: str,
    runs: list[dict[str, Any]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shelf = Shelf()
    documents = [a_run(f"r{n}", **fields) for n, fields in enumerate(runs)]
    everything = "\n".join(text for run in documents for text in fields_of(run))
    folder = tmp_path_factory.mktemp("index")
    batch = data.draw(st.integers(1, 6), label="batch")
    async with open_index(engine, shelf, folder, batch) as index:
        await index.observe([shelf.put(run) for run in documents])
        if data.draw(st.booleans(), label="edit one"):
            edited = a_run("r0", **data.draw(runs_strategy)[0])
            documents[0] = edited
            await index.observe([shelf.put(edited)])
        for _ in range(6):
            start = data.draw(st.integers(0, len(everything)))
            piece = everything[start : start + data.draw(st.integers(0, 8))]
            query = data.draw(st.sampled_from([piece, piece.upper()]) | texts, label="query")
            expected = by_hand(documents, query)
            size = data.draw(st.integers(1, 5), label="page size")
            assert await pages(index, query, size) == (expected, {len(expected)})


@pytest.fixture(params=ENGINES)
async def crowd(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Any, Shelf, list[RunDocument]]]:
    """3,000 runs; words on all, on 1 %, on the oldest alone, and on none."""
    shelf = Shelf()
    seed = 20260301
    print("seed", seed)
    chance = random.Random(seed)
    runs = []
    for n in range(3_000):
        note = " ".join(chance.choice(["alpha", "beta", "gamma", "delta"]) for _ in range(3))
        rare = "rareword" if n % 100 == 0 else "plain"
        created_at = NOW - timedelta(seconds=n // 7)
        name = f"Everyone {rare} {'ancient' if n > 2_000 else 'young'}"
        runs.append(a_run(f"r{n:04}", name=name, note=note, created_at=created_at))
    async with open_index(request.param, shelf, tmp_path) as index:
        keys = [shelf.put(run) for run in runs]
        for start in range(0, len(keys), 500):
            await index.observe(keys[start : start + 500])
        yield index, shelf, runs


@pytest.mark.parametrize(
    "query",
    ["", "everyone", "rareword", "ANCIENT", "ancient rare", "zz", "zzz", "an", "r", "a e y gamma",
     "alpha beta", "x" * 200, "eve ryo", "ne pl", " rareword\tbeta "],
)  # fmt: skip
async def test_pages_of_a_crowd_join_in_order_without_gap_or_double(crowd: Any, query: str) -> None:
    index, _, runs = crowd
    expected = by_hand(runs, query)
    assert await pages(index, query, 1_000) == (expected, {len(expected)})
    first, total = await index.list_runs(query, None, 50)
    assert ([row.run.id for row in first], total) == (expected[:50], len(expected))


@pytest.mark.parametrize("query", ["n", "zz", "everyone n", "rareword an", "rareword zz"])
async def test_short_words_are_looked_for_in_the_newest_of_the_others(
    crowd: Any, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_search, "LOOKED_AT", 20)
    monkeypatch.setattr(postgres_search, "LOOKED_AT", 20)
    index, _, runs = crowd
    indexed = " ".join(word for word in query.split() if len(word) > 2)
    candidates = by_hand(runs, indexed)
    ids, totals = await pages(index, query, 7)
    assert totals == {len(ids)}
    # Those of the moment at which the looking ends may be found too: seven have each.
    assert [id for id in by_hand(runs, query) if id in candidates[:20]] == ids[:20]
    assert set(ids) <= set(candidates[:27])


async def test_the_count_follows_changes(crowd: Any) -> None:
    index, shelf, _ = crowd
    assert (await index.list_runs("everyone", None, 10))[1] == 3_000
    shelf.remove(Key("run", "r0000"))
    await index.observe([Key("run", "r0000"), shelf.put(a_run("r0001", name="renamed"))])
    assert (await index.list_runs("everyone", None, 10))[1] == 2_998
    assert (await index.list_runs("", None, 10))[1] == 2_999
    await index.observe([shelf.put(a_run("r0000", name="everyone is back"))])
    assert (await index.list_runs("everyone", None, 10))[1] == 2_999


async def test_a_run_is_found_by_what_it_says_now_and_not_by_what_it_said(crowd: Any) -> None:
    index, shelf, _ = crowd
    await index.observe([shelf.put(a_run("r0005", name="unicorn"))])
    assert [row.run.id for row in (await index.list_runs("unicorn", None, 5))[0]] == ["r0005"]
    await index.observe([shelf.put(a_run("r0005", name="horse"))])
    assert await index.list_runs("unicorn", None, 5) == ([], 0)
