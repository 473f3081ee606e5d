from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from asgard_server.rpc.pages import size as page_size
from asgard_server.run import domain, limits, pages, repeats
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import (
    EtagMismatchError,
    InvalidFieldError,
    InvalidNameError,
    PageTokenMismatchError,
)
from gimle.asgard.core.ids import id_time
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_new_run(**fields: Any) -> domain.NewRun:
    return domain.NewRun(**{"name": "pendulum", **fields})


def a_run(**fields: Any) -> RunDocument:
    return replace(domain.run_document(a_new_run(), NOON), **fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "x" * 501}, "name"),
        ({"equation": "x" * 200_001}, "equation"),
        ({"circuit": "nul\0"}, "circuit"),
        ({"note": "x" * 1_000_001}, "note"),
        ({"tags": ("a", "b", "a")}, "tags"),
        ({"tags": ("a", "")}, "tags[1]"),
        ({"tags": ("x" * 101,)}, "tags[0]"),
        ({"tags": tuple(map(str, range(101)))}, "tags"),
        ({"status": "succeeded"}, "status"),
        ({"created_at": datetime(1969, 12, 31, tzinfo=UTC)}, "create_time"),
        ({"created_at": datetime(9999, 6, 1, tzinfo=UTC)}, "create_time"),
    ],
)
def test_a_field_of_a_run_that_breaks_its_rule_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        domain.run_document(a_new_run(**fields), NOON)
    assert caught.value.field == named
    assert caught.value.mend


@pytest.mark.parametrize("run_id", ["../etc/passwd", "/root", "a/b", "a\0b", ".", "x" * 300, " "])
def test_an_id_that_could_leave_the_folder_is_refused(run_id: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        domain.run_document(a_new_run(id=run_id), NOON)
    assert caught.value.field == "run_id"


def test_fields_at_their_limits_are_taken() -> None:
    run = domain.run_document(
        a_new_run(
            name="n" * 500,
            equation="e" * 200_000,
            note="n" * 1_000_000,
            tags=tuple(f"{number:0100}" for number in range(100)),
            status="running",
        ),
        NOON,
    )
    assert len(run.tags) == 100
    assert run.status == "running"


def test_an_id_made_here_carries_the_time_the_run_began() -> None:
    began = NOON - timedelta(days=3)
    assert id_time(domain.run_document(a_new_run(created_at=began), NOON).id) == began


def test_a_batch_names_the_result_that_is_wrong() -> None:
    results = [domain.NewResult("Solution1D", {}), domain.NewResult("", {})]
    with pytest.raises(InvalidFieldError) as caught:
        domain.batch(a_new_run(), results, NOON)
    assert caught.value.field == "results[1].result_type"


def test_a_batch_lists_its_results_in_the_order_given() -> None:
    results = [domain.NewResult("Solution1D", {}, id=name) for name in ("c", "a", "b")]
    run, made = domain.batch(a_new_run(), results, NOON)
    assert run.results == ("c", "a", "b")
    assert {result.run_id for result in made} == {run.id}


def test_a_batch_with_the_same_result_twice_is_refused() -> None:
    twice = [domain.NewResult("Solution1D", {}, id="same")] * 2
    with pytest.raises(InvalidFieldError, match="twice"):
        domain.batch(a_new_run(), twice, NOON)


@pytest.mark.parametrize(
    ("status", "age", "live"),
    [
        ("running", timedelta(days=9), True),
        ("succeeded", timedelta(0), False),
        ("failed", timedelta(0), False),
        (None, timedelta(seconds=59), True),
        (None, timedelta(seconds=60), False),
    ],
)
def test_a_run_is_live_while_it_may_still_be_computed(
    status: str | None, age: timedelta, live: bool
) -> None:
    assert domain.is_live(status, NOON - age, NOON) is live


def test_finishing_says_how_and_when_and_again_changes_nothing() -> None:
    run = a_run(status="running")
    ended = domain.finished(run, "failed", NOON + timedelta(seconds=5))
    assert (ended.status, ended.finished_at) == ("failed", NOON + timedelta(seconds=5))
    assert domain.finished(ended, "failed", NOON + timedelta(seconds=9)) is ended
    other = domain.finished(ended, "succeeded", NOON + timedelta(seconds=9))
    assert (other.status, other.finished_at) == ("succeeded", NOON + timedelta(seconds=9))


@pytest.mark.parametrize("status", ["running", "pending", "failed_lost"])
def test_a_run_cannot_be_finished_as_something_else(status: str) -> None:
    ends = "say one of succeeded, failed, failed_crash, failed_abandoned:"
    with pytest.raises(InvalidFieldError, match=ends) as caught:
        domain.ending(status)
    assert caught.value.field == "status"


@pytest.mark.parametrize("status", ["succeeded", "failed", "failed_crash", "failed_abandoned"])
def test_anybody_says_how_a_run_has_ended(status: str) -> None:
    assert domain.ending(status) == status
    assert domain.ending(None) == "succeeded"


def test_services_alone_say_that_a_run_is_lost_and_they_cannot_finish_it_as_going_on() -> None:
    assert domain.ending("failed_lost", by_service=True) == "failed_lost"
    for status in ("running", "pending"):
        with pytest.raises(InvalidFieldError):
            domain.ending(status, by_service=True)


def test_a_change_that_changes_nothing_leaves_the_run_as_it_is() -> None:
    run = a_run()
    assert domain.changed(run, {"name": run.name, "tags": run.tags}, NOON) is run
    assert domain.changed(run, {"note": "seen"}, NOON + timedelta(1)).updated_at > run.updated_at


def test_a_clock_that_went_back_does_not_make_a_run_older() -> None:
    run = a_run(updated_at=NOON)
    assert domain.changed(run, {"note": "x"}, NOON - timedelta(hours=1)).updated_at == NOON


@pytest.mark.parametrize("name", ["id", "results", "status", "created_at", "*", ""])
def test_fields_that_cannot_be_changed_are_refused(name: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        limits.run_values({name: "x"})
    assert caught.value.field == "update_mask"


def test_a_run_changed_since_it_was_seen_is_not_overwritten() -> None:
    run = a_run()
    assert domain.unchanged(run, run) is run
    assert domain.unchanged(run, None) is run
    with pytest.raises(EtagMismatchError):
        domain.unchanged(replace(run, note="mine"), run)


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),
    st.text(min_size=1, max_size=50),
    st.text(max_size=50),
)
def test_a_page_token_leads_back_to_its_place(moment: datetime, name: str, query: str) -> None:
    place = pages.Position(moment, name)
    token = pages.page_token(place, "runs", query)
    assert pages.page_position(token, "runs", query) == place
    with pytest.raises(PageTokenMismatchError):
        pages.page_position(token, "runs", query + "?")
    with pytest.raises(PageTokenMismatchError):
        pages.page_position(token, "results", query)


@given(st.text(min_size=1, max_size=80))
def test_what_is_no_page_token_is_refused(text: str) -> None:
    with pytest.raises(PageTokenMismatchError):
        pages.page_position(text, "runs", "")


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (1_000, 1_000), (99_999, 1_000)])
def test_a_page_has_fifty_items_unless_asked_and_a_thousand_at_most(asked: int, size: int) -> None:
    assert page_size(asked) == size


def test_a_page_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(InvalidFieldError) as caught:
        page_size(-1)
    assert caught.value.field == "page_size"


def test_the_parts_of_a_request_cannot_run_into_each_other() -> None:
    assert repeats.request_digest(b"ab", b"c") != repeats.request_digest(b"a", b"bc")
    assert repeats.request_digest(b"a", b"") != repeats.request_digest(b"a")


def a_result(data: dict[str, Any]) -> ResultDocument:
    return ResultDocument("x", "r", "Solution1D", data, NOON)


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ({"x": [1, 2]}, {"x": [1, 2]}, True),
        ({"x": [1, 2]}, {"x": [1, 2.0]}, False),
        ({"x": float("nan")}, {"x": float("nan")}, True),
        ({"x": (1, 2)}, {"x": [1, 2]}, True),
        ({"x": np.arange(3)}, {"x": np.arange(3)}, True),
        ({"x": np.arange(3)}, {"x": np.arange(3.0)}, False),
        ({"x": np.array([np.nan])}, {"x": np.array([np.nan])}, True),
        ({"x": np.arange(3)}, {"x": [0, 1, 2]}, False),
        ({"x": 1}, {"x": 1, "y": 2}, False),
        ({"x": True}, {"x": 1}, False),
    ],
)
def test_a_result_written_before_is_recognised_by_its_content(
    wanted: dict[str, Any], found: dict[str, Any], same: bool
) -> None:
    assert repeats.same_result(a_result(wanted), a_result(found)) is same
