from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from gimle.asgard.core.errors import InvalidFieldError

from tests.unit.render.results import numbers_of, view_of


def frames_of(view: dict[str, Any], data: Any, start: int, count: int) -> Any:
    """A page of frames by the address in the view, as values (levels for uint8)."""
    href = view["frames"]["href"].format(start=start, count=count)
    query = {name: values[0] for name, values in parse_qs(urlsplit(href).query).items()}
    assert query.pop("format") == "binary"
    options: dict[str, Any] = {
        name: int(query.pop(name)) for name in ("frame_start", "frame_count")
    }
    options |= {name: float(value) for name, value in query.items()}
    body = numbers_of("PhysicsAnimation", data, **options)
    return np.frombuffer(body, dtype=view["frames"]["dtype"])


def test_frames_are_quantised_over_the_range_of_all_frames() -> None:
    frames = np.linspace(-3.0, 5.0, 4 * 6 * 7).reshape(4, 6, 7)
    data = {"t": [0, 1, 2, 3], "frames": frames}
    view = view_of("PhysicsAnimation", data)
    assert (view["mode"], view["n_frames"], view["rows"], view["cols"]) == ("frames", 4, 6, 7)
    assert view["value_range"] == [-3, 5]
    levels = frames_of(view, data, 1, 2).reshape(2, 6, 7)
    values = -3 + (levels.astype(float) - 1) / 254 * 8
    np.testing.assert_allclose(values, frames[1:3], atol=8 / 254 / 2 + 1e-9)


def test_missing_values_are_level_zero() -> None:
    frames = np.zeros((1, 2, 2))
    frames[0, 0, 0], frames[0, 0, 1], frames[0, 1, 1] = np.nan, -np.inf, 4.0
    view = view_of("PhysicsAnimation", {"frames": frames})
    assert view["value_range"] == [0, 4]
    assert frames_of(view, {"frames": frames}, 0, 1).tolist() == [0, 0, 1, 255]


def test_large_frames_are_averaged_to_512_and_paged() -> None:
    frames = np.zeros((9, 1024, 2048), dtype=np.float32)
    frames[:, ::2] = 1.0
    view = view_of("PhysicsAnimation", {"frames": frames})
    assert (view["rows"], view["cols"]) == (256, 512)
    page = view["frames"]["page"]
    assert frames_of(view, {"frames": frames}, 8, page).size == 256 * 512  # the last one
    levels = frames_of(view, {"frames": frames}, 0, 2)
    assert set(levels.tolist()) == {128}  # half of 0 to 1 everywhere


def test_pages_of_a_view_agree_while_the_animation_grows() -> None:
    first = np.array([[[0.0, 1.0]]])
    view = view_of("PhysicsAnimation", {"frames": first})
    grown = np.concatenate([first, [[[0.0, 10.0]]]])
    assert frames_of(view, {"frames": grown}, 0, 2).tolist() == [1, 255, 1, 255]
    assert view_of("PhysicsAnimation", {"frames": grown})["value_range"] == [0, 10]


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "f4", "c8"])
def test_frames_of_every_dtype_are_drawn(dtype: str) -> None:
    data = {"frames": np.array([[[0, 1]]]).astype(dtype)}
    view = view_of("PhysicsAnimation", data)
    assert frames_of(view, data, 0, 1).tolist() == [1, 255]


def test_a_constant_animation_is_neither_missing_nor_an_error() -> None:
    data = {"frames": np.full((2, 3, 3), 7.0)}
    assert frames_of(view_of("PhysicsAnimation", data), data, 0, 2).min() > 0


def test_positions_are_sent_as_they_are_with_their_bounds() -> None:
    positions = np.arange(24.0).reshape(4, 3, 2)
    data = {"times": [0, 1, 2, 3], "positions": positions, "names": ["sun", "earth", "moon"]}
    view = view_of("PhysicsAnimation", data)
    assert (view["mode"], view["bodies"], view["dimensions"]) == ("positions", 3, 2)
    assert view["bounds"] == [[0, 22], [1, 23]]
    assert view["names"] == ["sun", "earth", "moon"]
    assert (frames_of(view, data, 1, 2).reshape(2, 3, 2) == positions[1:3]).all()


def test_a_page_never_exceeds_a_message_and_one_behind_the_end_is_refused() -> None:
    data = {"frames": np.zeros((40, 512, 512), dtype=np.uint8)}
    assert len(numbers_of("PhysicsAnimation", data, frame_count=40)) <= 4_000_000
    with pytest.raises(InvalidFieldError, match="frame_start"):
        numbers_of("PhysicsAnimation", data, frame_start=40)


def test_frames_without_times_are_counted() -> None:
    view = view_of("PhysicsAnimation", {"t": [1, 2, 3], "frames": np.zeros((2, 1, 1))})
    assert view["times"] == [0, 1]
    assert "3 values" in view["notes"][0]
