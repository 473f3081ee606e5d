"""Ids ascend in the order of time; names that are no file names are refused."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from gimle.asgard.core.errors import InvalidNameError
from gimle.asgard.core.ids import check_id, check_name, id_time, new_id
from hypothesis import given
from hypothesis import strategies as st

FIRST, LAST = datetime(1970, 1, 1), datetime(9000, 1, 1)
TIMES = st.datetimes(FIRST, LAST, timezones=st.just(UTC))


@given(TIMES)
def test_an_id_tells_its_time_to_the_microsecond(time: datetime) -> None:
    id = new_id(time)
    assert uuid.UUID(id).version == 7
    assert uuid.UUID(id).variant == uuid.RFC_4122
    assert id_time(id) == time


@given(TIMES, TIMES)
def test_ids_sort_as_their_times_do(a: datetime, b: datetime) -> None:
    if a != b:
        assert (new_id(a) < new_id(b)) == (a < b)


def test_ids_of_one_moment_ascend_and_differ_in_every_thread() -> None:
    now = datetime.now(UTC)
    made: list[list[str]] = [[] for _ in range(4)]

    def make(ids: list[str]) -> None:
        ids.extend(new_id(now) for _ in range(2000))

    threads = [threading.Thread(target=make, args=(ids,)) for ids in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({id for ids in made for id in ids}) == 8000


def test_other_uuids_tell_no_time() -> None:
    assert id_time(str(uuid.uuid4())) is None
    assert id_time("run-1") is None


def test_a_time_before_1970_has_no_id() -> None:
    with pytest.raises(ValueError, match="created_at"):
        new_id(datetime(1970, 1, 1, tzinfo=UTC) - timedelta(seconds=1))


BAD = ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", ".hidden", "x" * 300]


@pytest.mark.parametrize("text", [*BAD, "with space", "grün", "a" * 129, "-a"])
def test_a_text_that_is_no_id_is_refused_with_field_and_mend(text: str) -> None:
    with pytest.raises(InvalidNameError, match=r"^run_id: .*; ") as caught:
        check_id(text)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", [*BAD, "ü" * 101, "\ud800", 5, None])
def test_a_text_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match=r"^obj_type: "):
        check_name(text, "obj_type")


@pytest.mark.parametrize(
    "text", ["9b2f6a3e-0c1d-4e5f-8a7b-6c5d4e3f2a1b", "run_1", "2026-01-01.a", "A" * 128]
)
def test_uuids_and_names_by_hand_are_ids(text: str) -> None:
    assert check_id(text) == text


def test_a_name_may_have_spaces_and_letters_of_any_tongue() -> None:
    assert check_name("größe 3", "name") == "größe 3"
