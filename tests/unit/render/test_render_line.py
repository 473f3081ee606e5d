from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gimle.asgard.core.errors import InvalidFieldError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.render.results import view_of


@pytest.mark.parametrize("n", [10_000, 1_000_000])
@pytest.mark.parametrize("at", [0, 1, 4321, -2, -1])
def test_a_spike_of_one_sample_survives(n: int, at: int) -> None:
    x = np.linspace(0, 10, n)
    y = np.sin(x)
    y[at] = 40.0
    view = view_of("Solution1D", {"x": x, "computed": y}, width=300)
    (curve,) = view["series"]
    assert len(curve["y"]) <= 700
    assert curve["reduced"]
    assert max(curve["y"]) == 40.0
    assert curve["x"][int(np.argmax(curve["y"]))] == x[at]
    assert view["y_range"][1] == 40.0


@settings(deadline=None)
@given(
    at=st.integers(0, 29_999),
    seed=st.integers(0, 10),
    shape=st.sampled_from(["even", "uneven", "clustered", "descending", "constant", "random"]),
)
def test_a_spike_survives_on_any_axis(at: int, seed: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    n = 30_000
    x = {
        "even": np.arange(n) * 0.5,
        "uneven": np.cumsum(rng.exponential(size=n)),
        "clustered": np.cumsum(rng.exponential(size=n) ** 12),
        "descending": -np.arange(n) * 1.0,
        "constant": np.full(n, 3.0),
        "random": rng.normal(size=n),
    }[shape]
    y = rng.normal(size=n)
    y[at] = -50.0
    (curve,) = view_of("Solution1D", {"x": x, "computed": y}, width=400)["series"]
    assert min(curve["y"]) == -50.0
    assert curve["x"][int(np.argmin(curve["y"]))] == x[at]
    assert len(curve["x"]) == len(curve["y"])


def test_a_window_is_drawn_at_full_detail(tmp_path: Path) -> None:
    n = 1_000_000
    np.save(tmp_path / "x.npy", np.linspace(0, 1, n))
    np.save(tmp_path / "y.npy", np.random.default_rng(0).normal(size=n))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    view = view_of(
        "Solution1D", {"x": x, "computed": y}, x_min=float(x[5000]), x_max=float(x[5999])
    )
    (curve,) = view["series"]
    assert not curve["reduced"]
    assert curve["x"] == x[4999:6001].tolist()  # one neighbour on either side
    assert curve["y"] == y[4999:6001].tolist()
    assert view["y_range"] == [y[5000:6000].min(), y[5000:6000].max()]
    assert view["x_range"] == [0.0, 1.0]
    assert view["window"] == [x[5000], x[5999]]


def test_a_window_between_two_samples_draws_the_line_through_it() -> None:
    view = view_of("Solution1D", {"x": [0, 1, 2], "computed": [5, 7, 6]}, x_min=1.2, x_max=1.3)
    assert view["series"][0]["x"] == [1, 2]
    assert view["y_range"] == [6, 7]


@pytest.mark.parametrize(("low", "high"), [(50.0, 60.0), (-60.0, -50.0)])
def test_a_window_beside_the_data_is_no_error(low: float, high: float) -> None:
    view = view_of("Solution1D", {"x": [0, 1], "computed": [5, 7]}, x_min=low, x_max=high)
    assert view["window"] == [low, high]


def test_a_descending_axis_is_drawn_ascending_with_its_values() -> None:
    view = view_of("Solution1D", {"x": [3, 2, 1], "computed": [30, 20, 10], "expected": [3, 2, 1]})
    assert [curve["x"] for curve in view["series"]] == [[1, 2, 3]] * 2
    assert view["series"][0]["y"] == [10, 20, 30]
    assert view["residual"]["y"] == [9, 18, 27]
    assert view["ordered"]


def test_a_curve_that_turns_back_is_joined_as_saved_and_says_so() -> None:
    t = np.linspace(0, 2 * np.pi, 100_000)
    view = view_of("Solution1D", {"x": np.cos(t), "computed": np.sin(t)}, width=200)
    assert not view["ordered"]
    assert "order" in view["notes"][0]
    (curve,) = view["series"]
    assert min(curve["x"]) == pytest.approx(-1, abs=1e-9)
    assert len(curve["x"]) < 2_000


@pytest.mark.parametrize("n", [200, 200_000])
def test_missing_values_stay_gaps(n: int) -> None:
    y = np.ones(n)
    y[n // 2] = np.nan
    y[n // 4 : n // 4 + 3] = np.inf
    view = view_of("Solution1D", {"x": np.arange(n), "computed": y}, width=100)
    (curve,) = view["series"]
    assert curve["nonfinite"] == {"nan": 1, "inf": 3}
    gaps = [x for x, value in zip(curve["x"], curve["y"], strict=True) if value is None]
    assert n // 2 in gaps
    assert n // 4 in gaps
    # The line ends right before a gap and goes on right behind it.
    assert {n // 2 - 1, n // 2 + 1, n // 4 - 1, n // 4 + 3} <= set(curve["x"])
    assert view["y_range"] == [1, 1]


def test_an_infinity_does_not_hide_the_largest_finite_value_beside_it() -> None:
    y = np.zeros(100_000)
    y[70_000], y[70_001] = np.inf, 9.0
    (curve,) = view_of("Solution1D", {"computed": y}, width=50)["series"]
    assert 9.0 in curve["y"]


def test_values_missing_every_other_time_still_draw_something_bounded() -> None:
    y = np.where(np.arange(300_000) % 2, np.nan, 1.0)
    (curve,) = view_of("Solution1D", {"computed": y}, width=100)["series"]
    assert any(value == 1.0 for value in curve["y"])
    assert len(curve["y"]) < 2_000


def test_all_missing_is_an_empty_figure_not_an_error() -> None:
    view = view_of("Solution1D", {"x": [1, 2], "computed": [float("nan"), float("nan")]})
    assert view["series"][0]["y"] == [None, None]
    assert view["y_range"] is None


@settings(deadline=None)
@given(n=st.integers(1, 200_000), width=st.integers(1, 300))
def test_a_residual_is_of_all_samples_and_its_extremes_survive(n: int, width: int) -> None:
    rng = np.random.default_rng(n)
    computed, expected = rng.normal(size=n), rng.normal(size=n)
    view = view_of("Solution1D", {"computed": computed, "expected": expected}, width=width)
    difference = computed - expected
    residual = view["residual"]
    assert residual["max_abs"] == np.abs(difference).max()
    assert residual["rms"] == pytest.approx(math.sqrt(np.mean(difference**2)))
    assert max(residual["y"], key=abs) == difference[np.argmax(np.abs(difference))]


def test_integers_beyond_doubles_are_subtracted_exactly() -> None:
    big = 2**60
    view = view_of("Solution1D", {"computed": np.array([big + 3]), "expected": np.array([big])})
    assert view["series"][0]["y"] == [big + 3]
    assert view["residual"]["max_abs"] == 3


def test_complex_values_are_two_curves_and_a_magnitude_of_error() -> None:
    view = view_of("Solution1D", {"computed": np.array([3 + 4j, 1j]), "expected": [0, 0]})
    assert [curve["name"] for curve in view["series"]] == [
        "computed (real)",
        "computed (imaginary)",
        "expected",
    ]
    assert view["series"][1]["y"] == [4, 1]
    assert view["residual"]["max_abs"] == 5


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f8", "i1", "i8", "u8", "?", "c8", "G"])
def test_every_numeric_dtype_is_drawn(dtype: str) -> None:
    y = (np.arange(5000) % 2).astype(dtype)
    view = view_of("Solution1D", {"x": np.arange(5000), "computed": y}, width=100)
    assert view["kind"] == "line"
    assert view["y_range"] == [0, 1]


def test_bfloat16_is_drawn() -> None:
    import ml_dtypes

    view = view_of("Solution1D", {"computed": np.arange(4).astype(ml_dtypes.bfloat16)})
    assert view["series"][0]["y"] == [0, 1, 2, 3]


def test_dates_become_seconds_and_the_view_says_so() -> None:
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=k) for k in range(3)]
    for x in (days, np.array([day.replace(tzinfo=None) for day in days], dtype="datetime64[s]")):
        view = view_of("Solution1D", {"x": x, "computed": [1, 2, 3]})
        assert view["x_is_time"]
        assert view["series"][0]["x"][1] - view["series"][0]["x"][0] == 86_400


@pytest.mark.parametrize(
    ("data", "x", "y"),
    [
        ({"t": [1, 2], "y": [3, 4]}, [1, 2], [3, 4]),
        ({"times": [1, 2], "values": [3, 4]}, [1, 2], [3, 4]),
        ({"computed": [3, 4]}, [0, 1], [3, 4]),
        ({"X": [1, 2], "Computed": [3, 4]}, [1, 2], [3, 4]),
        ({"x": np.array([[1], [2]]), "computed": np.array([[3, 4]])}, [1, 2], [3, 4]),
    ],
)
def test_obvious_names_are_understood(data: dict[str, object], x: list[int], y: list[int]) -> None:
    view = view_of("Solution1D", data)
    assert (view["series"][0]["x"], view["series"][0]["y"]) == (x, y)


def test_a_field_of_two_dimensions_is_several_curves() -> None:
    values = np.array([[1, 10], [2, 20], [3, 30]])
    for computed in (values, values.T):
        view = view_of("Solution1D", {"x": [0, 1, 2], "computed": computed})
        assert [curve["y"] for curve in view["series"]] == [[1, 2, 3], [10, 20, 30]]


def test_expected_values_of_another_length_are_left_out_with_a_note() -> None:
    view = view_of("Solution1D", {"x": [1, 2], "computed": [3, 4], "expected": [3]})
    assert [curve["name"] for curve in view["series"]] == ["computed"]
    assert "expected" in view["notes"][0]


@pytest.mark.parametrize(
    ("display", "at", "value"),
    [
        ({}, 1.0, 1 + 2 + 3),
        ({"convention": "taylor"}, 1.0, 1 + 2 + 1.5),
        ({"convention": "taylor", "domain": [0, 3]}, 3.0, 1 + 6 + 13.5),
    ],
)
def test_coefficients_are_drawn_as_the_power_series_they_are(
    display: dict[str, object], at: float, value: float
) -> None:
    view = view_of("Solution1D", {"coefficients": [1, 2, 3]}, display)
    (curve,) = view["series"]
    assert curve["x"][-1] == at
    assert curve["y"][-1] == pytest.approx(value)
    assert view["coefficients"]["values"] == [1, 2, 3]
    assert view["coefficients"]["convention"] == display.get("convention", "ordinary")


def test_many_taylor_coefficients_do_not_overflow() -> None:
    view = view_of("Solution1D", {"coefficients": np.ones(500)}, {"convention": "taylor"})
    assert view["y_range"][1] == pytest.approx(math.e)


def test_coefficients_are_compared_where_x_and_expected_were_saved() -> None:
    data = {"x": [0, 1, 2], "coefficients": [0, 0, 1], "expected": [0, 1, 5]}
    view = view_of("Solution1D", data)
    assert view["series"][0]["y"] == [0, 1, 4]
    assert view["residual"]["max_abs"] == 1


def test_a_wrong_convention_is_named() -> None:
    view = view_of("Solution1D", {"coefficients": [1]}, {"convention": "chebyshev"})
    assert view["kind"] == "tree"
    assert "chebyshev" in view["reason"]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("x_min", {"x_min": 2.0, "x_max": 1.0}),
        ("x_min", {"x_min": math.nan}),
        ("y_max", {"y_max": math.inf}),
        ("width", {"width": 9000}),
        ("height", {"height": -1}),
        ("layer", {"layer": "phase"}),
        ("frame_start", {"frame_start": -1}),
        ("at", {"at": (math.nan,)}),
        ("at", {"at": (0.0,) * 65}),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    field: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        view_of("Solution1D", {"computed": [1]}, **options)
    assert refused.value.field == field


def test_ten_million_points_open_and_zoom_without_waiting(tmp_path: Path) -> None:
    n = 10_000_000
    np.save(tmp_path / "x.npy", np.arange(n) / 1000)
    np.save(tmp_path / "y.npy", np.zeros(n))

    def best(**window: Any) -> float:
        took = []
        for _ in range(5):
            start = time.thread_time()
            x = np.load(tmp_path / "x.npy", mmap_mode="r")
            y = np.load(tmp_path / "y.npy", mmap_mode="r")
            view_of("Solution1D", {"x": x, "computed": y, "expected": y}, **window)
            took.append(time.thread_time() - start)
        return min(took)

    # Processor time, so that a busy machine does not matter; make bench measures the wait.
    assert best() < 0.1
    assert best(x_min=5000.0, x_max=5001.0) < 0.1
