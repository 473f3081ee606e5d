from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from asgard_server.run.render.ensemble import histogram
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.unit.render.results import view_of


@pytest.mark.parametrize("dtype", ["f8", "f4", "i4"])
def test_statistics_are_of_all_paths(dtype: str) -> None:
    paths = (np.random.default_rng(0).normal(size=(503, 40)) * 100).astype(dtype)
    t = np.linspace(0, 1, 40)
    view = view_of("StochasticEnsemble", {"t": t, "paths": paths})
    assert (view["n_paths"], view["n_times"]) == (503, 40)
    assert view["t"] == t.tolist()
    np.testing.assert_allclose(view["mean"], paths.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(view["median"], np.quantile(paths, 0.5, axis=0), rtol=1e-5)
    for band, (low, high) in zip(view["bands"], [(0.25, 0.75), (0.05, 0.95)], strict=True):
        np.testing.assert_allclose(band["lower"], np.quantile(paths, low, axis=0), rtol=1e-5)
        np.testing.assert_allclose(band["upper"], np.quantile(paths, high, axis=0), rtol=1e-5)
    assert len(view["samples"]) == 20
    for sample in view["samples"]:
        np.testing.assert_allclose(sample["y"], paths[sample["index"]], rtol=1e-6)
    assert view["y_range"] == [paths.min(), paths.max()]


def test_missing_values_are_left_out_of_every_statistic() -> None:
    paths = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.inf], [8.0, np.nan, np.nan]])
    view = view_of("StochasticEnsemble", {"t": [0, 1, 2], "paths": paths})
    assert view["mean"] == [4, 5, None]
    assert view["median"] == [3, 5, None]
    assert view["y_range"] == [1, 8]
    assert sum(view["histograms"][1]["counts"]) == 1
    assert view["histograms"][2]["counts"] == []


def test_a_jump_of_one_sample_in_one_path_is_among_the_times_drawn() -> None:
    paths = np.random.default_rng(0).normal(size=(50, 20_000))
    paths[17, 12_345] = 99.0
    t = np.arange(20_000)
    view = view_of("StochasticEnsemble", {"t": t, "paths": paths})
    assert view["reduced"]
    assert len(view["t"]) <= 602
    assert 12_345 in view["t"]
    assert view["y_range"][1] == 99.0


def test_a_window_shows_its_own_times() -> None:
    paths = np.random.default_rng(0).normal(size=(30, 10_000))
    view = view_of(
        "StochasticEnsemble",
        {"t": np.arange(10_000), "paths": paths},
        x_min=100,
        x_max=199,
    )
    assert view["t"] == list(range(100, 200))
    assert not view["reduced"]
    assert all(100 <= each["t"] <= 199 for each in view["histograms"])


def test_histograms_stand_at_the_times_asked_for() -> None:
    paths = np.random.default_rng(0).normal(size=(1000, 11))
    view = view_of("StochasticEnsemble", {"t": np.arange(11) / 10, "paths": paths}, at=(0.52, 99.0))
    assert [each["t"] for each in view["histograms"]] == [0.5, 1.0]
    default = view_of("StochasticEnsemble", {"t": np.arange(11) / 10, "paths": paths})
    assert len(default["histograms"]) == 5


@settings(deadline=None)
@given(
    npst.arrays(
        np.float64,
        st.integers(1, 300),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_a_histogram_counts_every_value_once(values: Any) -> None:
    with np.errstate(all="ignore"):
        edges, counts = histogram(values)
    assert counts.sum() == len(values)
    assert len(edges) == len(counts) + 1
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= values.min()
    assert edges[-1] >= values.max()


def test_a_histogram_is_numpys_for_ordinary_values() -> None:
    values = np.random.default_rng(3).normal(size=2000)
    edges, counts = histogram(values)
    assert counts.tolist() == np.histogram(values, bins=edges)[0].tolist()


def test_what_was_saved_beside_the_paths_is_given_as_it_is() -> None:
    data = {"t": [1, 0], "paths": [[1, 2]], "mean": [7, 8], "lower": [1, 2, 3]}
    view = view_of("StochasticEnsemble", data)
    assert view["t"] == [0, 1]
    assert view["given"]["mean"] == [8, 7]
    assert view["given"]["lower"] is None
    assert "lower" in view["notes"][0]


def test_paths_that_came_as_time_by_path_are_turned() -> None:
    view = view_of("StochasticEnsemble", {"t": [0, 1, 2], "paths": [[1, 10], [2, 20], [3, 30]]})
    assert view["n_paths"] == 2
    assert view["mean"] == [5.5, 11, 16.5]


def test_ten_thousand_paths_of_a_thousand_times_are_drawn_at_once() -> None:
    paths = np.random.default_rng(0).normal(size=(10_000, 1_000))
    took = []
    for view_of_paths in (paths, np.asfortranarray(paths)):
        start = time.thread_time()
        view_of("StochasticEnsemble", {"t": np.arange(1000), "paths": view_of_paths})
        took.append(time.thread_time() - start)
    # Processor time: 30 to 60 ms.
    assert max(took) < 0.5, took
