from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.render.results import view_of


def test_a_sequence_is_drawn_over_its_index() -> None:
    view = view_of("DiscreteSequence", {"n": [1, 2, 3], "values": [1, 1, 2], "expected": [1, 1, 2]})
    assert view["kind"] == "steps"
    assert view["n_total"] == 3
    assert [(curve["name"], curve["x"], curve["y"]) for curve in view["series"]] == [
        ("computed", [1, 2, 3], [1, 1, 2]),
        ("expected", [1, 2, 3], [1, 1, 2]),
    ]


def test_a_sequence_without_index_counts_from_zero() -> None:
    assert view_of("DiscreteSequence", {"values": [5, 6]})["series"][0]["x"] == [0, 1]
    assert view_of("DiscreteSequence", {"values": [5, 6], "n": 2})["series"][0]["x"] == [0, 1]


def test_integers_beyond_64_bits_are_drawn_as_the_nearest_number() -> None:
    view = view_of("DiscreteSequence", {"values": [1, 2**70, -(10**400)]})
    assert view["series"][0]["y"] == [1, 2.0**70, None]
    assert view["series"][0]["nonfinite"] == {"nan": 0, "inf": 1}


def test_states_over_time_are_a_curve_each() -> None:
    shares = np.array([[1.0, 0.0], [0.5, 0.5], [0.4, 0.6]])
    view = view_of("DiscreteSequence", {"values": shares})
    assert [curve["name"] for curve in view["series"]] == ["computed[0]", "computed[1]"]
    assert view["n_total"] == 3


def test_a_long_sequence_keeps_its_one_outlier() -> None:
    values = np.zeros(500_000, dtype=np.int64)
    values[31_337] = 2**62
    (curve,) = view_of("DiscreteSequence", {"values": values}, width=100)["series"]
    assert curve["y"][curve["x"].index(31_337)] == 2**62


def test_a_loss_comes_with_the_best_so_far_and_the_best_of_all() -> None:
    data = {
        "loss": [5.0, math.nan, 3.0, 4.0],
        "parameters": {"a": [1, 2, 3, 4], "w": np.arange(8.0).reshape(4, 2), "start": 7},
        "optimum": {"a": 3.1, "w": np.array([4.0, 5.0])},
    }
    view = view_of("OptimizationResult", data)
    assert view["loss"]["y"] == [5, None, 3, 4]
    assert view["loss"]["best"] == [5, 5, 3, 3]
    assert view["best"] == {"step": 2, "loss": 3, "parameters": {"a": 3, "w[0]": 4, "w[1]": 5}}
    assert [each["name"] for each in view["parameters"]] == ["a", "w[0]", "w[1]"]
    assert view["optimum"] == {"a": 3.1, "w": [4.0, 5.0]}
    assert "start" in view["notes"][0]


def test_the_best_so_far_is_of_all_steps_however_few_are_drawn() -> None:
    loss = np.random.default_rng(0).random(100_000) + 1
    loss[50_001] = 0.5
    view = view_of("OptimizationResult", {"losses": loss}, width=50)
    assert view["loss"]["reduced"]
    best = dict(zip(view["loss"]["x"], view["loss"]["best"], strict=True))
    assert all(best[x] == loss[: x + 1].min() for x in best)
    assert view["best"]["step"] == 50_001


@pytest.mark.parametrize(
    ("loss", "suggested"),
    [([1000.0, 1.0], True), ([50.0, 1.0], False), ([1000.0, 0.0], False), ([math.nan], False)],
)
def test_a_log_scale_is_suggested_for_wide_positive_losses(
    loss: list[float], suggested: bool
) -> None:
    assert view_of("OptimizationResult", {"loss": loss})["log_suggested"] is suggested


def test_parameters_may_be_an_object_for_each_step() -> None:
    data = {"loss": [2, 1], "params": [{"a": 1}, {"a": 2, "b": 3}]}
    view = view_of("OptimizationResult", data)
    assert {each["name"]: each["y"] for each in view["parameters"]} == {"a": [1, 2], "b": [None, 3]}


def test_parameters_with_a_starting_value_have_their_own_steps() -> None:
    view = view_of("OptimizationResult", {"loss": [2, 1], "parameters": {"a": [9, 8, 7]}})
    assert view["parameters"][0]["x"] == [0, 1, 2]
    assert view["best"]["parameters"] == {}


def test_steps_given_are_the_axis_also_when_they_fall() -> None:
    data = {"step": [30, 20, 10], "loss": [1.0, 2.0, 3.0], "parameters": {"a": [7, 8, 9]}}
    view = view_of("OptimizationResult", data)
    assert view["loss"]["x"] == [10, 20, 30]
    assert view["best"] == {"step": 30, "loss": 1, "parameters": {"a": 7}}
    assert view["parameters"][0]["y"] == [9, 8, 7]
