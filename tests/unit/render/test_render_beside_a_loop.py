from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.render.results import numbers_of, view_of

MOST_S = 0.05
ATTEMPTS = 6


async def worst_lag(work: Callable[[], Any]) -> float:
    """How late a timer of one millisecond was at most while `work` ran in a thread."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        running = loop.run_in_executor(pool, work)
        worst = 0.0
        while not running.done():
            before = loop.time()
            await asyncio.sleep(0.001)
            worst = max(worst, loop.time() - before - 0.001)
        await running
    return worst


def ten_million_points(folder: Path) -> Callable[[], Any]:
    for name in ("x", "y"):
        np.save(folder / f"{name}.npy", np.arange(10_000_000.0))
    x, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "y"))
    return lambda: view_of("Solution1D", {"x": x, "computed": y, "expected": x})


def a_large_ensemble(folder: Path) -> Callable[[], Any]:
    paths = np.random.default_rng(0).normal(size=(10_000, 1_000))
    return lambda: view_of("StochasticEnsemble", {"t": np.arange(1_000), "paths": paths})


def a_large_field(folder: Path) -> Callable[[], Any]:
    field = np.random.default_rng(0).normal(size=(3_000, 3_000))
    return lambda: numbers_of("Solution2D", {"computed": field})


def a_long_list(folder: Path) -> Callable[[], Any]:
    values = [float(k) for k in range(2_000_000)]
    return lambda: view_of("Solution1D", {"computed": values})


@pytest.mark.parametrize("made", [ten_million_points, a_large_ensemble, a_large_field, a_long_list])
async def test_a_loop_is_not_held_up_while_a_thread_renders(
    made: Callable[[Path], Callable[[], Any]], tmp_path: Path
) -> None:
    work = made(tmp_path)
    lags: list[float] = []
    # A machine that is busy with other things is late by itself, but not every time.
    while len(lags) < ATTEMPTS and min(lags, default=1.0) > MOST_S:
        lags.append(await worst_lag(work))
    assert min(lags) <= MOST_S, lags
