from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from asgard_server.run.render import RenderOptions, render
from asgard_server.run.render.fit import NAMES
from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.errors import InvalidFieldError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.conftest import EXAMPLES
from tests.unit.render.results import a_result, view_of


def test_an_unknown_type_is_a_tree_of_exact_values() -> None:
    data = {"big": 2**64 + 1, "pi": 3.14, "z": 1 + 2j, "on": True, "none": None, "text": "hej"}
    view = view_of("Custom", data)
    assert (view["kind"], view["reason"]) == ("tree", None)
    nodes = dict(view["tree"]["items"])
    assert nodes["big"] == {"type": "number", "value": "18446744073709551617"}
    assert nodes["pi"]["value"] == "3.14"
    assert nodes["z"]["value"] == "(1+2j)"
    assert nodes["on"] == {"type": "bool", "value": True}
    assert nodes["none"]["type"] == "null"
    assert nodes["text"] == {"type": "text", "value": "hej"}


def test_an_array_is_shown_by_its_shape_range_and_a_curve() -> None:
    array = np.sin(np.linspace(0, 9, 100_000)).reshape(1000, 100)
    array[5, 5] = np.nan
    array[500, 50] = 77.0
    ((_, node),) = view_of("Custom", {"a": array})["tree"]["items"]
    assert (node["type"], node["dtype"], node["shape"]) == ("array", "float64", [1000, 100])
    assert node["min"] == np.nanmin(array)
    assert node["max"] == 77.0
    assert node["mean"] == pytest.approx(np.nanmean(array))
    assert len(node["sparkline"]) <= 64
    assert max(value for value in node["sparkline"] if value is not None) == 77.0


def test_deep_and_wide_data_is_cut_and_says_how_much_is_missing() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"in": deep}
    view = view_of("Custom", {"deep": deep, "wide": {str(k): k for k in range(500)}})
    wide = view["tree"]["items"][1][1]
    assert (len(wide["items"]), wide["more"]) == (200, 300)
    assert len(orjson.dumps(view)) < 100_000


def test_text_that_no_encoding_carries_and_endless_numbers_are_shown_all_the_same() -> None:
    data = {"\ud800": "\udfff", "huge": 10**9999, "long": "x" * 50_000, "array": np.array(["a"])}
    nodes = dict(view_of("Custom", data, {"title": "\ud800"})["tree"]["items"])
    assert nodes["?"]["value"] == "?"
    assert nodes["huge"]["type"] == "number"
    assert nodes["long"]["more"] == 40_000
    assert nodes["array"]["dtype"] == "<U1"


def test_an_array_that_was_not_read_is_shown_by_its_reference() -> None:
    ref = ArrayRef(path="files/a.npy", dtype="float32", shape=(3, 4))
    ((_, node),) = view_of("Custom", {"a": ref})["tree"]["items"]
    assert (node["dtype"], node["shape"]) == ("float32", [3, 4])


@pytest.mark.parametrize(
    ("result_type", "data", "words"),
    [
        ("Solution1D", {}, "computed"),
        ("Solution1D", {"x": [1, 2, 3], "computed": [1, 2]}, "3 values"),
        ("Solution1D", {"x": [1], "computed": ["a"]}, "text"),
        ("Solution1D", {"x": [], "computed": []}, "empty"),
        ("Solution1D", {"computed": 5}, "single number"),
        ("Solution1D", {"computed": np.float64(5)}, "single number"),
        ("Solution1D", {"computed": np.zeros((3, 4, 5))}, "3 x 4 x 5"),
        ("Solution1D", {"computed": [[1, 2], [3]]}, "ragged"),
        ("Solution1D", {"computed": {"a": 1}}, "not a series"),
        ("Solution1D", {"x": [1j], "computed": [1]}, "complex"),
        ("Solution2D", {"computed": [1, 2, 3]}, "[y, x]"),
        ("Solution2D", {"x": [1, 2], "computed": [[1, 2, 3]]}, "1 x 3"),
        ("StochasticEnsemble", {"t": [1, 2]}, "paths"),
        ("StochasticEnsemble", {"t": [1, 2], "paths": [[1, 2, 3]]}, "2"),
        ("DiscreteSequence", {"values": ["sun", "rain"]}, "text"),
        ("DiscreteSequence", {"n": [1, 2], "values": [1, 2, 3]}, "has 3"),
        ("OptimizationResult", {"loss": [[1], [2, 3]]}, "ragged"),
        ("OptimizationResult", {"parameters": {}}, "loss"),
        ("PhysicsAnimation", {"t": [1]}, "positions"),
        ("PhysicsAnimation", {"positions": np.zeros((2, 3, 5))}, "2 x 3 x 5"),
        ("PhysicsAnimation", {"frames": np.zeros((0, 4, 4))}, "empty"),
    ],
)
def test_data_that_does_not_fit_its_type_is_a_tree_with_the_reason(
    result_type: str, data: dict[str, Any], words: str
) -> None:
    view = view_of(result_type, data)
    assert view["kind"] == "tree"
    assert words in view["reason"]
    assert view["result_type"] == result_type


@pytest.mark.parametrize(
    ("result_type", "empty", "grown"),
    [
        ("OptimizationResult", {"loss": []}, {"loss": [1.0]}),
        ("Solution1D", {"x": [], "computed": []}, {"x": [0.0], "computed": [1.0]}),
        ("DiscreteSequence", {"values": np.zeros(0)}, {"values": np.ones(1)}),
        ("PhysicsAnimation", {"frames": np.zeros((0, 4, 4))}, {"frames": np.ones((1, 4, 4))}),
    ],
)
def test_a_result_that_is_about_to_grow_waits_for_its_figure(
    result_type: str, empty: dict[str, Any], grown: dict[str, Any]
) -> None:
    assert view_of(result_type, empty)["waiting"] is True
    assert view_of(result_type, grown)["kind"] != "tree"
    assert view_of("Solution1D", {"computed": ["a"]})["waiting"] is False


def test_odd_display_settings_are_survived() -> None:
    display = {"title": 5, "labels": ["x"], "convention": None}
    view = view_of("Solution1D", {"computed": [1]}, display)
    assert (view["title"], view["labels"]) == ("5", {"x": "", "y": ""})
    view = view_of("Solution1D", {"computed": [1]}, {"labels": {"x": "t (s)", "z": 3}})
    assert view["labels"] == {"x": "t (s)", "y": "", "z": "3"}


def test_a_list_as_data_is_shown() -> None:
    assert view_of("Solution1D", [1, 2])["kind"] == "tree"


NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.complex_numbers(),
    st.text(max_size=3),
)
DTYPES = ("f8", "f4", "f2", "i8", "u8", "i1", "?", "c16", "M8[s]", "m8[ms]", "U2", ">f4")
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
ARRAYS: st.SearchStrategy[Any] = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.arrays(np.dtype(dtype), SHAPES)
)
VALUES = st.one_of(
    NUMBERS,
    ARRAYS,
    st.lists(NUMBERS, max_size=6),
    st.lists(st.floats(), max_size=6),
    st.lists(st.lists(st.floats(), max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.lists(NUMBERS, max_size=4), max_size=3),
)
ROLES = sorted({role for names in NAMES.values() for role in names} | {"names", "bodies", "y"})
FINITE = st.floats(allow_nan=False, allow_infinity=False)
BOUND = st.none() | FINITE


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    result_type=st.sampled_from([*NAMES, "Other"]),
    data=st.dictionaries(st.sampled_from(ROLES), VALUES, max_size=5) | VALUES,
    display=st.fixed_dictionaries(
        {}, optional={"domain": VALUES, "convention": NUMBERS, "labels": VALUES, "title": VALUES}
    ),
    bounds=st.tuples(BOUND, BOUND, BOUND, BOUND),
    layer=st.sampled_from(["", "expected", "error"]),
    at=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    width=st.integers(0, 40),
    binary=st.booleans(),
)
def test_rendering_never_raises_whatever_the_data(
    result_type: str,
    data: Any,
    display: dict[str, Any],
    bounds: tuple[float | None, ...],
    layer: str,
    at: list[float],
    width: int,
    binary: bool,
) -> None:
    window: dict[str, Any] = dict(zip(("x_min", "x_max", "y_min", "y_max"), bounds, strict=True))
    options = RenderOptions(width, 3, layer=layer, at=tuple(at), binary=binary, **window)
    refused = ""
    try:
        rendered = render(a_result(result_type, data, display), options)
    except InvalidFieldError as error:
        refused = error.field
    if refused:  # only options are: never the data of a view as JSON
        assert binary or refused in ("x_min", "y_min", "layer")
    elif not binary:
        view = orjson.loads(rendered.body)
        assert view["kind"] != "tree" or result_type == "Other" or view["reason"]


FITTING = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda sides: st.fixed_dictionaries(
        {
            "x": npst.arrays("f8", sides[1]),
            "t": npst.arrays("f8", sides[1]),
            "y": npst.arrays("f8", sides[0]),
            "computed": npst.arrays(st.sampled_from(["f8", "f4", "i8", "c16"]), sides),
            "expected": npst.arrays("f8", sides),
            "paths": npst.arrays(st.sampled_from(["f8", "f4"]), sides),
            "loss": npst.arrays("f8", sides[1]),
            "values": npst.arrays("f8", sides[1]),
            "frames": npst.arrays("f8", (2, *sides)),
        }
    )
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    result_type=st.sampled_from(list(NAMES)),
    data=FITTING,
    bounds=st.none() | st.tuples(FINITE, FINITE).map(sorted),
    width=st.integers(1, 20),
)
def test_data_that_fits_is_drawn_whatever_its_numbers(
    result_type: str,
    data: dict[str, Any],
    bounds: list[float] | None,
    width: int,
) -> None:
    if result_type == "Solution1D":
        data = data | {"computed": data["computed"][0], "expected": data["expected"][0]}
    window: dict[str, Any] = {} if bounds is None else {"x_min": bounds[0], "x_max": bounds[1]}
    view = view_of(result_type, data, width=width, **window)
    assert view["kind"] != "tree" or "no finite" in view["reason"]
