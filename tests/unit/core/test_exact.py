"""Values come back exactly as they went, whatever JSON thinks of them."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gimle.asgard.core import exact
from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.errors import InvalidFieldError
from hypothesis import given, settings
from hypothesis import strategies as st

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=20)
    | st.text(max_size=5).map("$".__add__)
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.just(UTC) | st.none())
    | st.dates()
    | st.times()
)
KEYS = st.text(max_size=8) | st.sampled_from(
    ["$", "$$", "$float", "$int", "$array", "$$array", "$complex", "null", "id", "$date"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value; NaN equals NaN and 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return bool(a == b)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_any_value_comes_back_exactly_through_strict_json(value: Any) -> None:
    body = exact.dumps(value)
    json.loads(body, parse_constant=refuse)
    assert same(exact.loads(body), value)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_writing_what_was_read_changes_nothing(value: Any) -> None:
    body = exact.dumps(value)
    assert exact.dumps(exact.loads(body)) == body


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, -0.0, np.nan, np.inf, -np.inf]),
        np.array([0.1, np.nan], np.float32),
        np.array([0.1], np.float16),
        np.array([0.1, 1e-40], ">f4"),
        np.array([2**63, 2**64 - 1], np.uint64),
        np.array([-(2**63)], np.int64),
        np.array([True, False]),
        np.array([1 + 2j, complex(np.nan, np.inf)], np.complex64),
        np.array(["2026-01-01", "NaT"], "datetime64[ms]"),
        np.array([5], "timedelta64[25s]"),
        np.array(["a", "größe"]),
        np.array([b"a\0b"]),
        np.array([1, 2], np.longdouble) / 3,
        np.array([1.5, 2.5], ml_dtypes.bfloat16),
        np.array([1.5], ml_dtypes.float8_e4m3fn),
        np.array([1, -2], ml_dtypes.int4),
        np.zeros(2, [("a", "<f4"), ("b", ">i8", (2,)), ("é", [("x", "?")])]),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.array(7.0),
        np.array("2026", "datetime64[Y]"),
        np.array(3, ml_dtypes.bfloat16),
        np.empty((0,)),
        np.empty((3, 0, 2), np.int8),
        np.empty((0, 2), ml_dtypes.bfloat16),
        np.arange(12).reshape(3, 4).T,
        np.arange(24)[::3],
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_an_array_inside_a_document_comes_back_with_its_dtype_and_shape(
    array: np.ndarray[Any, Any],
) -> None:
    again = exact.loads(exact.dumps({"a": [array]}))["a"][0]
    assert same(again, array)
    again[...] = again  # it can be written to


def test_a_reference_to_a_file_comes_back() -> None:
    for ref in (
        ArrayRef("files/x_a.npy", "float64", (3, 2)),
        ArrayRef("files/x_b.npy", [["a", "<f4"]], (0, 5), transposed=True),
    ):
        assert exact.loads(exact.dumps({"v": ref})) == {"v": ref}


def test_numpy_scalars_come_back_as_numbers_of_the_same_value() -> None:
    values: dict[str, Any] = {"a": np.float32(0.1), "b": np.int8(-3), "c": np.True_}
    values["d"] = np.float64(2.5)
    again = exact.loads(exact.dumps(values))
    assert again == {key: value.item() for key, value in values.items()}
    assert [type(value) for value in again.values()] == [float, int, bool, float]


def test_oddities_of_python_come_back() -> None:
    value = {
        "huge": 10**6000,
        "negative": -(10**6000),
        "zone": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        "day": date(1, 1, 1),
        "hour": time(1, 2, 3, 4),
        "text": "null $ \u2028 \x00",
    }
    assert exact.loads(exact.dumps(value)) == value
    assert exact.loads(exact.dumps((1, (2, 3)))) == [1, [2, 3]]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": {"b": [1, {1, 2}]}}, "a.b.1"),
        ({"a": np.array([object()])}, "a"),
        ({"a": {1: 2}}, "a"),
        ({"f": print}, "f"),
        ({"m": np.ma.masked_array([1, 2], [True, False])}, "m"),
        ({"t": "\ud800"}, "t"),
    ],
    ids=["set", "object array", "key", "function", "masked", "surrogate"],
)
def test_what_cannot_be_stored_is_a_type_error_that_names_the_field(value: Any, field: str) -> None:
    with pytest.raises(TypeError, match=f"^{field}: "):
        exact.dumps(value)


def test_nesting_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = 1
    for _ in range(400):
        deep = [deep, float("nan")]
    for value in (endless, deep):
        with pytest.raises(InvalidFieldError, match="nested"):
            exact.dumps(value)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"$float": "one"}',
        b'{"$int": []}',
        b'{"$complex": [1]}',
        b'{"$datetime": 5}',
        b'{"$array": "files/x.npy", "dtype": "object", "shape": [1]}',
        b'{"$array": "files/x.npy", "dtype": "float64"}',
        b'{"$array": "files/x.npy", "dtype": "float64", "shape": [-1]}',
        b'{"$array": [1, 2], "dtype": "float64", "shape": [3]}',
        b'{"$array": {"base64": "AA"}, "dtype": "float64", "shape": [1]}',
        b'{"$array": "files/x.npy", "dtype": "float64", "shape": [1], "chunks": 3}',
    ],
)
def test_a_broken_document_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has words of its own
        exact.loads(body)


def test_a_marker_nobody_knows_is_left_alone() -> None:
    assert exact.loads(b'{"$schema": "x", "a": {"$ref": 1}}') == {"$schema": "x", "a": {"$ref": 1}}


@given(VALUES, st.lists(st.integers(-(2**1000), 2**1000) | st.floats(allow_nan=False), max_size=5))
def test_digits_that_other_programs_write_are_read_to_the_last(value: Any, numbers: Any) -> None:
    written = json.dumps({"exact": json.loads(exact.dumps(value)), "numbers": numbers})
    if "Infinity" not in written:
        read = exact.loads(written)
        assert same(read["numbers"], numbers)
        assert same(read["exact"], exact.loads(exact.dumps(value)))


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**300])
@pytest.mark.parametrize("form", ["[%d]", '{"a":[0.00012345678901234567,%d]}', '["$",%d]'])
def test_integers_around_the_edges_of_64_bits_are_read_exactly(number: int, form: str) -> None:
    assert str(number) in str(exact.loads(form % number))


def test_fractions_are_not_taken_for_long_integers() -> None:
    assert not exact.holds_long_integers(b"[0.00012345678901234567,1.0,0.000123456789012345678]")
    assert exact.holds_long_integers(b"[0.00012345678901234567,1234567890123456789012]")
