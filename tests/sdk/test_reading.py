"""Many documents are read side by side where each is a trip, in order, and no more than needed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.monitor.reading import read_all

from tests.sdk.homes import HOMES, Home


def test_a_portion_is_read_at_once_and_answered_in_order() -> None:
    together = threading.Barrier(8)

    def read(number: int) -> int | None:
        together.wait(20)
        return None if number % 3 == 0 else number

    answers = read_all(read, range(64), at_once=8)
    assert answers == [number for number in range(64) if number % 3]


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("limit", [0, 1, 5, 30])
def test_no_more_is_read_than_answers_are_wanted(at_once: int, limit: int) -> None:
    seen: list[int] = []

    def read(number: int) -> int | None:
        seen.append(number)
        return number if number != 2 else None

    answers = read_all(read, range(100), at_once=at_once, limit=limit)
    wanted = [number for number in range(100) if number != 2][:limit]
    assert answers == wanted
    assert len(seen) == limit + (limit > 2)


def test_runs_and_results_of_a_place_far_away_are_read_side_by_side(tmp_path: Path) -> None:
    far = [kind for kind in HOMES if kind != "folder"]
    assert far
    for kind in far:
        with HOMES[kind](tmp_path / kind) as home:
            _read_side_by_side(home)


def _read_side_by_side(home: Home) -> None:
    storage = home.open()
    runs = [storage.create_run(str(number)) for number in range(4)]
    for number in range(4):
        storage.add_result(runs[-1], "T", {"n": number})
    inside = threading.Barrier(4)
    keeper = storage._home
    read_run, read_result = keeper.read_run, keeper.read_result_document

    def waiting_run(run_id: str) -> object:
        inside.wait(20)
        return read_run(run_id)

    def waiting_result(result_id: str) -> object:
        inside.wait(20)
        return read_result(result_id)

    keeper.read_run = waiting_run  # type: ignore[method-assign, assignment]  # a look inside
    keeper.read_result_document = waiting_result  # type: ignore[method-assign, assignment]
    assert [run.id for run in storage.list_runs()] == [run.id for run in reversed(runs)]
    keeper.read_run = read_run  # type: ignore[method-assign]
    results = storage.get_run(runs[-1].id).results
    keeper.read_result_document = read_result  # type: ignore[method-assign]
    assert [one.data["n"] for one in results] == list(range(4))


@pytest.mark.parametrize("limit", ["3", 1.5, -1])
def test_a_limit_that_is_none_is_named(tmp_path: Path, limit: object) -> None:
    storage = AsgardStorage(tmp_path)
    with pytest.raises(InvalidFieldError, match="limit"):
        storage.list_runs(limit)  # type: ignore[arg-type]  # the mistake under test
