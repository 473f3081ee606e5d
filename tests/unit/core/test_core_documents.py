"""What the two documents hold, and what readers forgive."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from gimle.asgard.core.documents import (
    ResultDocument,
    RunDocument,
    decode_result,
    decode_run,
    digest,
    encode_result,
    encode_run,
    etag,
)
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.ids import new_id
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 21, 4, 5, 6, 789012, UTC)
TEXT = st.text(max_size=20)
TIME = st.datetimes(timezones=st.just(UTC))
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
OBJECT = st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=3)
RUNS = st.builds(
    RunDocument,
    IDS,
    TEXT,
    TIME,
    TIME,
    st.none() | TEXT,
    st.none() | TEXT,
    OBJECT,
    st.lists(IDS, max_size=3).map(tuple),
    st.lists(TEXT, max_size=3).map(tuple),
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TIME,
    st.dictionaries(st.sampled_from(["owner", "visibility", "x-new"]), TEXT, max_size=2),
)


@given(RUNS)
def test_a_run_comes_back(run: RunDocument) -> None:
    assert decode_run(encode_run(run)) == run


def test_a_result_comes_back_with_keys_nobody_knows() -> None:
    result = ResultDocument("a", "b", "Solution1D", {"x": [1, 2.5]}, NOW, {"title": "t"}, {"k": 1})
    assert decode_result(encode_result(result)) == result


def test_the_documented_keys_are_in_the_document() -> None:
    run = RunDocument("a", "n", NOW, NOW, "e", "c", {"k": 1}, ("r",), ("t",), "note", "failed", NOW)
    body = json.loads(encode_run(run))
    assert body == {
        "id": "a",
        "name": "n",
        "created_at": "2026-11-21T04:05:06.789012Z",
        "updated_at": "2026-11-21T04:05:06.789012Z",
        "equation": "e",
        "circuit": "c",
        "metadata": {"k": 1},
        "results": ["r"],
        "tags": ["t"],
        "note": "note",
        "status": "failed",
        "finished_at": "2026-11-21T04:05:06.789012Z",
    }
    result = json.loads(encode_result(ResultDocument("a", "b", "T", {"x": 1}, NOW)))
    assert set(result) == {"id", "run_id", "result_type", "data", "display", "created_at"}


def test_times_of_any_offset_are_written_and_read_in_utc() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=3)))
    run = decode_run(encode_run(RunDocument("a", "n", east, east)))
    assert run.created_at == NOW
    assert run.created_at.tzinfo is UTC
    by_hand = b'{"id": "a", "created_at": "2026-11-21T07:05:06.789012+03:00"}'
    assert decode_run(by_hand).created_at == NOW
    assert decode_run(b'{"id": "a", "created_at": "2026-11-21"}').created_at.tzinfo is UTC


def test_a_document_by_hand_needs_only_what_membership_needs() -> None:
    run = decode_run(b"{}", "first")
    assert (run.id, run.name, run.results, run.metadata) == ("first", "", (), {})
    assert decode_run(b"{}", new_id(NOW)).created_at == NOW
    assert decode_run(b"{}", "first", NOW).created_at == NOW
    assert decode_run(b'{"equation": null, "tags": null}', "first").equation is None
    result = decode_result(b'{"run_id": "first"}', "r")
    assert (result.result_type, result.data) == ("Unknown", {})


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "JSON|unexpected|EOF|empty"),
        (b"[]", "not a JSON object"),
        (b"{}", "no id"),
        (b'{"id": "../x"}', "no id"),
        (b'{"id": "a", "name": 5}', "name is not text"),
        (b'{"id": "a", "created_at": "soon"}', "created_at is not a time"),
        (b'{"id": "a", "created_at": 5}', "created_at is not a time"),
        (b'{"id": "a", "metadata": []}', "metadata is not"),
        (b'{"id": "a", "results": "x"}', "results is not a list"),
        (b'{"id": "a", "results": ["../x"]}', "results holds"),
        (b'{"id": "a", "tags": [1]}', "tags holds"),
        (b'{"id": "a", "metadata": {"x": {"$float": 1}}}', r"\$float"),
        (b'{"id": "a", "created_at": "0001-01-01T00:00:00+01:00"}', "created_at is not a time"),
        (b'{"id": "a", "metadata": {"x": {"$array": [300], "dtype": "int8"}}}', "does not fit"),
        (b'{"id": "a", "metadata": {"$complex": [{"$int": "1%s"}, 0]}}' % (b"0" * 400), "fit"),
        (b'{"id": "a", "metadata": {"x": "$", "y": %s0%s}}' % (b"[" * 900, b"]" * 900), "deeper"),
        (b'{"id": "a", "metadata": {"y": %s0%s}}' % (b"[" * 300, b"]" * 300), "metadata.*deeper"),
    ],
    ids=str,
)
def test_a_broken_run_says_what_is_wrong(body: bytes, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        decode_run(body)


@pytest.mark.parametrize("body", [b'{"id": "a"}', b'{"id": "a", "run_id": "../b"}'])
def test_a_result_of_no_run_is_refused(body: bytes) -> None:
    with pytest.raises(DocumentError, match="run_id"):
        decode_result(body)


@pytest.mark.parametrize("value", [{"a": 1}, {"a": float("nan")}])
def test_an_etag_is_the_digest_of_the_bytes(value: dict[str, Any]) -> None:
    body = encode_result(ResultDocument("a", "b", "T", value, NOW))
    assert etag(body) == digest(body).hex()
    assert len(digest(body)) == 16
    assert etag(body) != etag(body + b" ")
