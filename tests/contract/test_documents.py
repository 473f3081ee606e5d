"""What every `Documents` promises to the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgard_server.run.store import Key, Kind
from gimle.asgard.core.documents import ResultDocument, RunDocument, decode_result, decode_run
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    InvalidNameError,
    LengthMismatchError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.core.ids import new_id

from tests.contract.document_places import STORES, House, house_of, in_a_folder

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(params=["folder", *STORES])
async def house(request: pytest.FixtureRequest, storage_dir: Path) -> AsyncIterator[House]:
    async with house_of(request.param, storage_dir) as opened:
        yield opened


@pytest.fixture
def documents(house: House) -> Any:
    return house.documents


def a_run(run_id: str, **fields: Any) -> RunDocument:
    return replace(RunDocument(run_id, f"run {run_id}", NOW, NOW), **fields)


def a_result(result_id: str, run_id: str, **data: Any) -> ResultDocument:
    return ResultDocument(result_id, run_id, "Solution1D", data or {"computed": [1.0]}, NOW)


async def listed(documents: Any, run_id: str, want: set[str]) -> set[str]:
    """The results that a run's document names, once it names those wanted; it may lag."""
    for _ in range(100):
        run = decode_run((await documents.read(Key("run", run_id))).body)
        if set(run.results) == want:
            break
        await asyncio.sleep(0.05)
    return set(run.results)


async def test_what_was_written_is_read(documents: Any) -> None:
    await documents.create_run(a_run("r1", name="Heat"), [a_result("x1", "r1")])
    run = decode_run((await documents.read(Key("run", "r1"))).body)
    assert (run.name, run.results) == ("Heat", ("x1",))
    result = decode_result((await documents.read(Key("result", "x1"))).body)
    assert result.data == {"computed": [1.0]}
    assert await documents.read(Key("run", "nobody")) is None


async def test_arrays_come_back_as_arrays(documents: Any) -> None:
    values = np.arange(5_000, dtype=np.float32)
    await documents.create_run(a_run("r1"), [])
    await documents.add_result(a_result("x1", "r1", computed=values))
    opened = await documents.open_result("x1")
    np.testing.assert_array_equal(opened.data["computed"], values)
    assert opened.data["computed"].dtype == np.float32


async def test_an_id_is_given_once(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [])
    with pytest.raises(AlreadyExistsError):
        await documents.create_run(a_run("r1"), [])
    await documents.add_result(a_result("x1", "r1"))
    with pytest.raises(AlreadyExistsError):
        await documents.add_result(a_result("x1", "r1"))


async def test_a_refused_run_leaves_nothing(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [a_result("taken", "r1")])
    with pytest.raises(AlreadyExistsError):
        await documents.create_run(a_run("r2"), [a_result("x2", "r2"), a_result("taken", "r2")])
    assert await documents.read(Key("run", "r2")) is None
    assert await documents.read(Key("result", "x2")) is None
    assert [entry.key.id for entry in await documents.scan("result")] == ["taken"]


async def test_many_results_added_at_once_are_all_listed(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [])
    await asyncio.gather(*(documents.add_result(a_result(f"x{n}", "r1")) for n in range(50)))
    ids = {f"x{n}" for n in range(50)}
    assert await listed(documents, "r1", ids) == ids


async def test_updates_of_one_run_do_not_lose_one_another(documents: Any) -> None:
    await documents.create_run(a_run("r1", metadata={"count": 0}), [])

    def one_more(run: RunDocument) -> RunDocument:
        return replace(run, metadata={"count": run.metadata["count"] + 1})

    await asyncio.gather(*(documents.update_run("r1", one_more) for _ in range(40)))
    assert decode_run((await documents.read(Key("run", "r1"))).body).metadata == {"count": 40}


async def test_what_a_change_raises_is_raised_and_nothing_is_written(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [])
    before = await documents.read(Key("run", "r1"))

    def refuse(run: RunDocument) -> RunDocument:
        raise LookupError(run.id)

    with pytest.raises(LookupError, match="r1"):
        await documents.update_run("r1", refuse)
    assert await documents.read(Key("run", "r1")) == before


async def test_a_result_grows_and_says_its_true_length(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [])
    await documents.add_result(a_result("x1", "r1", loss=np.zeros(2)))
    await documents.append("x1", {"loss": np.ones(3)}, 2)
    await documents.append("x1", {"loss": np.ones(3)}, 2)  # a repeat is recognised
    with pytest.raises(LengthMismatchError) as refused:
        await documents.append("x1", {"loss": np.full(3, 7.0)}, 2)
    assert refused.value.length == 5
    loss = (await documents.open_result("x1")).data["loss"]
    np.testing.assert_array_equal(loss, [0, 0, 1, 1, 1])


async def test_a_deleted_run_takes_its_results_along_also_those_it_does_not_list(
    documents: Any,
) -> None:
    await documents.create_run(a_run("r1"), [a_result("x1", "r1")])
    await documents.add_result(a_result("x2", "r1"))
    await documents.update_run("r1", lambda run: replace(run, results=("x1",)))
    await documents.delete(Key("run", "r1"), ["x2"])
    for key in (Key("run", "r1"), Key("result", "x1"), Key("result", "x2")):
        assert await documents.read(key) is None


async def test_a_deleted_result_leaves_its_run(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [a_result("x1", "r1"), a_result("x2", "r1")])
    await documents.delete(Key("result", "x1"))
    assert await documents.read(Key("result", "x1")) is None
    assert decode_run((await documents.read(Key("run", "r1"))).body).results == ("x2",)


async def test_what_is_missing_is_named(documents: Any) -> None:
    with pytest.raises(NotFoundError):
        await documents.update_run("nobody", lambda run: run)
    with pytest.raises(NotFoundError):
        await documents.add_result(a_result("x1", "nobody"))
    with pytest.raises(NotFoundError):
        await documents.append("nobody", {"loss": [1.0]}, 0)
    with pytest.raises(NotFoundError):
        await documents.open_result("nobody")
    kinds: tuple[Kind, ...] = ("run", "result")
    for kind in kinds:
        with pytest.raises(NotFoundError):
            await documents.delete(Key(kind, "nobody"))


@pytest.mark.parametrize("bad", ["../r1", "/etc/passwd", "a/b", "a\0b", "", "x" * 300])
async def test_a_bad_id_is_refused_before_the_place_is_touched(documents: Any, bad: str) -> None:
    with pytest.raises(InvalidNameError):
        await documents.read(Key("run", bad))
    with pytest.raises(InvalidNameError):
        await documents.delete(Key("result", bad))


async def test_a_stamp_moves_with_every_replacement(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [])
    stamps = set()
    for n in range(20):
        stamps.add((await documents.read(Key("run", "r1"))).stamp)
        await documents.update_run("r1", lambda run, n=n: replace(run, note=f"{n % 2}"))
    assert len(stamps) == 20


async def test_a_scan_lists_what_reading_finds_with_the_same_stamps(documents: Any) -> None:
    await documents.create_run(a_run("r1"), [a_result("x1", "r1"), a_result("x2", "r1")])
    for kind, ids in (("run", {"r1"}), ("result", {"x1", "x2"})):
        entries = {entry.key: entry.stamp for entry in await documents.scan(kind)}
        assert {key.id for key in entries} == ids
        for key, stamp in entries.items():
            assert (await documents.read(key)).stamp == stamp


async def test_a_place_tells_of_what_comes_by_its_pulse_or_as_news(documents: Any) -> None:
    run_id, result_id = new_id(NOW), new_id(NOW)
    await documents.create_run(a_run(run_id), [])
    before = await documents.pulse()
    await asyncio.sleep(0.02)  # the grain of an mtime
    await documents.add_result(a_result(result_id, run_id))
    known = new_id(NOW + timedelta(minutes=9))
    news = {one.key for one in await documents.news({"run": known, "result": known})}
    expected = {Key("run", run_id), Key("result", result_id)}
    assert await documents.pulse() != before or news == expected
    later = new_id(NOW + timedelta(minutes=11))
    assert await documents.news({"run": later, "result": None}) == []


async def test_what_an_engine_writes_beside_documents_is_none(house: House, documents: Any) -> None:
    run_id, name = new_id(NOW), new_id(NOW)
    await documents.create_run(a_run(run_id), [])
    # As a folder names what is being written, and versitygw what it puts in an object's place.
    for strange in (f".{name}.json.tmp", f".{name}.json.sgwtmp.1795967505391817688", name):
        await house.strew(f"runs/{strange}", b"{}")
    assert [entry.key.id for entry in await documents.scan("run")] == [run_id]
    news = await documents.news({"run": new_id(NOW), "result": None})
    assert {entry.key.id for entry in news} <= {run_id}


async def test_a_pulse_moves_with_every_kind_of_change(storage_dir: Path) -> None:
    async with in_a_folder(storage_dir) as house:
        documents = house.documents
        await documents.create_run(a_run("r1"), [])
        pulses = [await documents.pulse()]
        works: list[Callable[[], Awaitable[Any]]] = [
            lambda: documents.add_result(a_result("x1", "r1")),
            lambda: documents.update_run("r1", lambda run: replace(run, note="new")),
            lambda: documents.delete(Key("result", "x1")),
            lambda: documents.delete(Key("run", "r1")),
        ]
        for work in works:
            await asyncio.sleep(0.02)  # the grain of an mtime
            await work()
            pulses.append(await documents.pulse())
        assert len(set(pulses)) == 5
        await house.take_away()
        with pytest.raises(StorageUnavailableError):
            await documents.pulse()


async def test_a_place_that_is_gone_is_never_an_empty_one(house: House, documents: Any) -> None:
    await documents.create_run(a_run("r1"), [a_result("x1", "r1")])
    await house.take_away()
    for attempt in (
        documents.read(Key("run", "r1")),
        documents.check(),
        asyncio.to_thread(list, await documents.scan("run")),
        documents.create_run(a_run("r2"), []),
    ):
        with pytest.raises(StorageUnavailableError):
            await attempt
