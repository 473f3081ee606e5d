"""What rows have in common is said once to PostgreSQL, and what they differ in for each."""

from __future__ import annotations

from asgard_server.store.postgres_rows import said

TYPES = {"id": "text", "size": "bigint", "note": "text"}


def test_what_all_rows_have_is_one_argument() -> None:
    how, arguments = said(TYPES, [("a", "b"), (1, 1), (None, None)], each=("id",))
    assert dict(how.of) == {"id": "n.id", "size": "$2::bigint", "note": "$3::text"}
    assert (how.rows, how.each) == ("unnest($1::text[]) AS n(id)", ("id",))
    assert arguments == [("a", "b"), 1, None]


def test_what_rows_differ_in_is_an_array() -> None:
    how, arguments = said(TYPES, [("a", "b"), (1, 2), (None, "x")], each=("id",))
    assert dict(how.of) == {"id": "n.id", "size": "n.size", "note": "n.note"}
    assert how.rows == "unnest($1::text[], $2::bigint[], $3::text[]) AS n(id, size, note)"
    assert arguments == [("a", "b"), (1, 2), (None, "x")]


def test_one_row_is_an_array_where_it_has_to_be() -> None:
    how, arguments = said(TYPES, [("a",), (1,), ("x",)], each=("id", "note"))
    assert how.each == ("id", "note")
    assert arguments == [("a",), 1, ("x",)]
