from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from asgard_server.run.render.area import average, cut
from gimle.asgard.core.errors import InvalidFieldError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.render.results import numbers_of, view_of


def cells_of(view: dict[str, Any], data: Any) -> Any:
    """What the address in a view answers, as the page asks for it."""
    query = {
        name: values[0] for name, values in parse_qs(urlsplit(view["grid"]["href"]).query).items()
    }
    assert query.pop("format") == "binary"
    options: dict[str, Any] = {"layer": query.pop("layer")}
    options |= {name: int(query.pop(name)) for name in ("width", "height")}
    options |= {name: float(value) for name, value in query.items()}
    body = numbers_of("Solution2D", data, **options)
    grid = np.frombuffer(body, dtype="<f4").reshape(view["grid"]["rows"], view["grid"]["cols"])
    return view["grid"]["offset"] + view["grid"]["scale"] * grid.astype(np.float64)


def test_a_field_that_fits_the_pixels_is_sent_as_it_is() -> None:
    computed = np.arange(12.0).reshape(3, 4)
    data = {"x": [0, 1, 2, 3], "y": [10, 20, 30], "computed": computed}
    view = view_of("Solution2D", data)
    assert view["shape"] == [3, 4]
    assert view["x_range"] == [-0.5, 3.5]
    assert view["y_range"] == [5, 35]
    assert not view["grid"]["averaged"]
    assert view["value_range"] == [0, 11]
    assert view["extremes"]["max"] == {"value": 11, "x": 3, "y": 30}
    assert view["mean"] == 5.5
    assert (cells_of(view, data) == computed).all()


def test_cells_are_the_average_over_their_area() -> None:
    computed = np.random.default_rng(0).normal(size=(60, 80))
    data = {"computed": computed}
    view = view_of("Solution2D", data, width=20, height=15)
    expected = computed.reshape(15, 4, 20, 4).mean(axis=(1, 3))
    assert view["grid"]["averaged"]
    np.testing.assert_allclose(cells_of(view, data), expected, rtol=1e-5, atol=1e-6)
    assert view["value_range"] == [computed.min(), computed.max()]


@settings(deadline=None)
@given(
    ny=st.integers(1, 40),
    nx=st.integers(1, 40),
    rows=st.integers(1, 30),
    columns=st.integers(1, 30),
    seed=st.integers(0, 5),
    holes=st.booleans(),
)
def test_averages_equal_a_plain_reference_for_any_sizes(
    ny: int, nx: int, rows: int, columns: int, seed: int, holes: bool
) -> None:
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(ny, nx))
    if holes:
        field[rng.random(size=(ny, nx)) < 0.3] = np.nan
    y_edges = np.cumsum(rng.random(ny + 1) + 0.01)
    x_edges = np.cumsum(rng.random(nx + 1) + 0.01)
    found = average(lambda a, b: field[a:b], cut(y_edges, rows), cut(x_edges, columns))

    def overlap(edges: Any, targets: int) -> Any:
        goals = np.linspace(edges[0], edges[-1], targets + 1)
        low = np.maximum(goals[:-1, None], edges[None, :-1])
        return np.clip(np.minimum(goals[1:, None], edges[None, 1:]) - low, 0, None)

    down, across = overlap(y_edges, rows), overlap(x_edges, columns)
    weight = down @ np.isfinite(field) @ across.T
    total = down @ np.nan_to_num(field) @ across.T
    sure = weight > 1e-9  # a sliver of an edge is a matter of rounding
    np.testing.assert_allclose(
        found.grid[sure], (total / np.where(sure, weight, 1))[sure], atol=1e-9
    )
    if np.isfinite(field).any():
        assert found.low is not None
        assert found.high is not None
        assert found.low.value == np.nanmin(field)
        assert field[found.high.row, found.high.column] == np.nanmax(field)
        assert found.mean == pytest.approx(np.nanmean(field))
    else:
        assert (found.low, found.high, found.mean) == (None, None, None)


def test_one_bad_cell_does_not_spoil_the_average_and_an_empty_area_is_missing() -> None:
    computed = np.ones((4, 8))
    computed[0, 0] = np.inf
    computed[2:, :2] = np.nan
    data = {"computed": computed}
    view = view_of("Solution2D", data, width=4, height=2)
    cells = cells_of(view, data)
    assert cells[0, 0] == 1
    assert np.isnan(cells[1, 0])
    assert view["value_range"] == [1, 1]


def test_a_window_is_drawn_from_the_cells_it_touches_at_full_detail() -> None:
    computed = np.arange(1_000_000.0).reshape(1000, 1000)
    data = {"x": np.arange(1000.0), "y": np.arange(1000.0), "computed": computed}
    window: dict[str, Any] = {"x_min": 100.2, "x_max": 149.6, "y_min": 10.0, "y_max": 19.0}
    view = view_of("Solution2D", data, width=200, height=100, **window)
    assert view["window"] == {"x": [99.5, 150.5], "y": [9.5, 19.5]}
    assert not view["grid"]["averaged"]
    assert (cells_of(view, data) == computed[10:20, 100:151]).all()
    assert view["extremes"]["min"] == {"value": 10_100, "x": 100, "y": 10}
    assert view["value_range"] == [10_100, 19_150]


def test_a_falling_axis_is_turned_so_that_the_lowest_y_comes_first() -> None:
    data = {"x": [2, 1, 0], "y": [5, 4], "computed": [[1, 2, 3], [4, 5, 6]]}
    view = view_of("Solution2D", data)
    assert cells_of(view, data).tolist() == [[6, 5, 4], [3, 2, 1]]
    assert view["extremes"]["min"] == {"value": 1, "x": 2, "y": 5}


def test_uneven_axes_are_drawn_true_to_scale() -> None:
    # Edges are -0.5, 0.5, 5.5, 14.5: cells of 1, 5 and 9.
    data = {"x": [0, 1, 10], "computed": [[1, 2, 3]]}
    view = view_of("Solution2D", data, width=15)
    assert view["x_range"] == [-0.5, 14.5]
    assert cells_of(view, data)[0].tolist() == [1] + [2] * 5 + [3] * 9


def test_layers_are_those_there_are_and_error_is_the_difference() -> None:
    data = {"computed": [[1.0, 5.0]], "expected": [[1.0, 7.0]]}
    view = view_of("Solution2D", data, layer="error")
    assert view["layers"] == ["computed", "expected", "error"]
    assert cells_of(view, data).tolist() == [[0, -2]]
    assert view["extremes"]["min"]["value"] == -2
    with pytest.raises(InvalidFieldError, match="layer"):
        view_of("Solution2D", {"computed": [[1.0]]}, layer="error")


def test_values_that_came_as_x_y_are_recognised_by_their_axes() -> None:
    data = {"x": [0, 1, 2], "y": [0, 1], "computed": [[1, 4], [2, 5], [3, 6]]}
    view = view_of("Solution2D", data)
    assert cells_of(view, data).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "[x, y]" in view["notes"][0]


def test_coordinates_of_a_mesh_are_understood() -> None:
    x, y = np.meshgrid([0.0, 1.0, 2.0], [5.0, 6.0])
    view = view_of("Solution2D", {"x": x, "y": y, "computed": x + y})
    assert view["kind"] == "heatmap"
    assert (view["x_range"], view["y_range"]) == ([-0.5, 2.5], [4.5, 6.5])


@pytest.mark.parametrize("base", [1e9, -1e12, 1e300, 0.0])
def test_cells_keep_their_picture_in_single_precision(base: float) -> None:
    step = max(abs(base) * 1e-9, 1e-300)
    computed = base + np.arange(6.0).reshape(2, 3) * step
    data = {"computed": computed}
    cells = cells_of(view_of("Solution2D", data), data)
    np.testing.assert_allclose((cells - base) / step, (computed - base) / step, atol=0.3)


def test_a_large_field_never_exceeds_a_message() -> None:
    data = {"computed": np.zeros((3000, 3000), dtype=np.float32)}
    assert len(numbers_of("Solution2D", data, width=8192, height=8192)) <= 4_000_000


def test_a_field_without_a_picture_has_no_binary_form() -> None:
    for result_type, data in (("Solution2D", {"computed": [1, 2]}), ("Solution1D", {"y": [1]})):
        with pytest.raises(InvalidFieldError, match="binary"):
            numbers_of(result_type, data)
