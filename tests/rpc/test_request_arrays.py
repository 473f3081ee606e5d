from __future__ import annotations

from io import BytesIO
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest
from asgard_server.run import codec
from asgard_server.run.splice import members
from gimle.asgard.core.errors import InvalidFieldError
from hypothesis import given
from hypothesis import strategies as st

from tests.rpc.running import npy


def with_arrays(data: Any, **arrays: bytes) -> dict[str, Any]:
    return codec.data(orjson.dumps(data), arrays)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(3.5),
        np.empty((0, 4)),
        np.array([True, False]),
        np.array(["ä", "longer"]),
        np.array([1 + 2j]),
        np.array(["2026-11-21"], "datetime64[us]"),
        np.arange(3, dtype=">i4"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_sent_beside_the_data_arrives_where_the_data_names_it(array: Any) -> None:
    value = with_arrays({"deep": [{"y": {"$array": "a"}}]}, a=npy(array))
    found = value["deep"][0]["y"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_dtype_that_npy_forgets_is_restored_by_the_reference() -> None:
    array = np.arange(4).astype(ml_dtypes.bfloat16)
    value = with_arrays({"x": {"$array": "a", "dtype": "bfloat16"}}, a=npy(array.view("V2")))
    assert value["x"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(value["x"], array)


def test_other_marked_values_beside_arrays_are_restored() -> None:
    value = with_arrays({"x": {"$array": "a"}, "y": {"$int": "9" * 30}}, a=npy(np.arange(2)))
    assert value["y"] == int("9" * 30)


def a_pickle() -> bytes:
    stream = BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    return stream.getvalue()


WHOLE = npy(np.arange(10.0))


@pytest.mark.parametrize(
    ("data", "arrays", "field", "says"),
    [
        ({"x": {"$array": "b"}}, {"a": WHOLE}, "data", "'b', which was not sent"),
        ({"x": {"$array": "files/other.npy"}}, {}, "data", "not sent"),
        ({"x": 1}, {"a": WHOLE}, "arrays['a']", "not used"),
        ({"x": {"$array": "a"}}, {"a": b"nonsense"}, "arrays['a']", "not a .npy file"),
        ({"x": {"$array": "a"}}, {"a": b""}, "arrays['a']", "not a .npy file"),
        ({"x": {"$array": "a"}}, {"a": WHOLE[:-1]}, "arrays['a']", "header says"),
        ({"x": {"$array": "a"}}, {"a": WHOLE + b"!"}, "arrays['a']", "header says"),
        ({"x": {"$array": "a"}}, {"a": a_pickle()}, "arrays['a']", "holds object"),
        (
            {"x": {"$array": "a", "dtype": "float32"}},
            {"a": WHOLE},
            "data",
            "says the array 'a' is float32",
        ),
        ({"x": {"$array": "a", "dtype": "no"}}, {"a": WHOLE}, "data", "is no, but"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    data: Any, arrays: dict[str, bytes], field: str, says: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        with_arrays(data, **arrays)
    assert caught.value.field == field
    assert says in str(caught.value)


def test_structures_and_whole_documents_of_arrays_are_refused() -> None:
    records = np.zeros(2, dtype=[("x", "f8"), ("y", "i4")])
    with pytest.raises(InvalidFieldError, match="one array a field"):
        with_arrays({"x": {"$array": "a"}}, a=npy(records))
    with pytest.raises(InvalidFieldError):
        with_arrays({"$array": "a"}, a=WHOLE)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON), st.sampled_from([0, orjson.OPT_INDENT_2]))
def test_an_object_cut_into_members_is_the_object(value: dict[str, Any], option: int) -> None:
    body = orjson.dumps(value, option=option)
    assert {key: orjson.loads(part) for key, part in members(body).items()} == orjson.loads(body)


def test_long_members_are_cut_across_slices() -> None:
    value = {"x": [1.5] * 400_000, "text": '\\"' * 300_000, "y": {"deep": [[[]]] * 1000}}
    body = orjson.dumps(value)
    assert len(body) > 1_500_000
    assert {key: orjson.loads(part) for key, part in members(body).items()} == value


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"a"', b'{"a":', b'{"a":[1', b'{"a":"x', b"1"]
)
def test_what_is_no_whole_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"object|value|text"):
        members(body)
