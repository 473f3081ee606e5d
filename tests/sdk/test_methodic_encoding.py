"""What a report holds is sent as it is, or refused with the place of what cannot be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from methodic.encoding import encoded


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
        ({"loss": np.float32(0.5), "n": np.int64(3)}, {"loss": 0.5, "n": 3}),
        ({"x": np.arange(3), "f": np.ones((2, 2), order="F")}, {"x": [0, 1, 2], "f": [[1, 1]] * 2}),
        ({"x": jnp.arange(3.0)}, {"x": [0, 1, 2]}),
        ({"key_findings": [...]}, {"key_findings": ["..."]}),
        ({3: datetime(2026, 11, 29, tzinfo=UTC)}, {"3": "2026-11-29T00:00:00+00:00"}),
    ],
)
def test_values_of_simulations_are_json(value: Any, read: Any) -> None:
    assert json.loads(encoded(value)) == read


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"content": {"loss": float("nan")}}, "content.loss"),
        ({"a": [0, {"b": float("inf")}]}, r"a\[1\]\.b"),
        ({"a": None, "x": np.array([1.0, np.nan])}, "x"),
    ],
)
def test_what_is_not_finite_is_refused_with_its_place(value: Any, where: str) -> None:
    with pytest.raises(ValueError, match=f"^{where} is not finite"):
        encoded(value)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="send a list, a number or a text"):
        encoded({"x": object()})
    with pytest.raises(TypeError, match="set"):
        encoded({"x": {1, 2}})
