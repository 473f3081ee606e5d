"""Large arrays go straight to the store and come from there: nothing of them passes a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.array_places import PLACES, Place


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as opened:
        yield opened


def test_a_large_array_goes_straight_to_its_documented_key_and_comes_back(place: Place) -> None:
    storage = place.open()
    run = storage.create_run("r")
    x = np.linspace(0, 1, 1_000_000)
    small = np.arange(2_000.0)
    result = storage.add_result(run, "Solution1D", {"x": x, "computed": np.sin(x), "s": small})
    names = {f"{result.id}_{field}.npy" for field in ("x", "computed", "s")}
    assert set(place.left()) == names
    if place.bytes is not None:
        assert place.bytes.up > 2 * x.nbytes, "they pass where URLs lead"
    found = storage.load_result(result.id).data
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["computed"], np.sin(x))
    np.testing.assert_array_equal(found["s"], small)
    if place.bytes is not None:
        assert place.bytes.down > 2 * x.nbytes
