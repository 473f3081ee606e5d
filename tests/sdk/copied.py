"""A storage with something of everything, and all that it says, for tests of copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import ml_dtypes
import numpy as np
from gimle.asgard import AsgardStorage
from gimle.asgard.core import exact
from gimle.asgard.monitor.copy import Copier, Report
from gimle.asgard.monitor.home import open_home

NOON = datetime(2026, 1, 20, 12, 0, 0, 123456, UTC)
RANDOM = np.random.default_rng(4)


def fill(storage: AsgardStorage) -> None:
    """Save runs of every kind."""
    full = storage.create_run(
        "everything",
        "int(f, x) = g",
        "compose(atom)",
        {
            **{"nan": float("nan"), "big": 2**80, "$key": {"deep": [1.0, None]}},
            "weights": np.arange(3.0),
        },
        tags=["b", "a"],
        note="# A note\n",
        created_at=NOON,
    )
    # Its results are listed in the order they were added, which is not that of their times.
    for k in range(3):
        storage.add_result(
            full,
            "T",
            {
                "k": k,
                "list": [1.5, float("inf")],
                "small": np.arange(6).reshape(2, 3),
                "large": RANDOM.normal(size=(300, 70)),
                "odd": np.arange(2000).astype(ml_dtypes.bfloat16),
                "fortran": np.asfortranarray(RANDOM.normal(size=(60, 50))),
                "points": np.zeros(1100, [("at", "f8", (2,)), ("n", "i4")]),
                "deep": {"in": [np.full(1500, 1 + 2j), {"empty": np.empty((0, 4), np.float32)}]},
            },
            {"title": f"t{k}", "labels": {"x": "ä"}},
            created_at=NOON - timedelta(seconds=k),
        )
    storage.finish_run(full)
    grown = storage.create_run("grown", created_at=NOON + timedelta(1), status="running")
    paths = storage.add_result(
        grown, "StochasticEnsemble", {"t": np.arange(3.0), "paths": RANDOM.normal(size=(5, 3))}
    )
    loss = storage.add_result(grown, "OptimizationResult", {"loss": [], "parameters": {"w": []}})
    for k in range(3):
        step = np.arange(4.0)
        storage.append(paths, {"t": step + 4 * k, "paths": RANDOM.normal(size=(5, 4))})
        storage.append(loss, {"loss": step / 3, "parameters": {"w": step}})
    storage.create_run("empty", created_at=NOON + timedelta(2))
    failed = storage.save_simulation_result("failed", "T", {"x": 1}, created_at=NOON)
    storage.finish_run(failed, "failed")


def said(where: str, *, ordered: bool = True) -> dict[str, Any]:
    """All that a storage says, in JSON, but when it was last changed.

    ordered: with the results in the order of their run.
    """
    home = open_home(where, "relaxed")
    told: dict[str, Any] = {}
    for run_id in home.run_ids_newest_first():
        run = home.read_run(run_id)
        results = [home.read_result(id) for id in run.results]
        told[run_id] = exact.dumps(
            [
                *(run.name, run.created_at, run.equation, run.circuit, run.metadata, run.tags),
                *(run.note, run.status, run.finished_at),
                *(
                    [
                        one.id,
                        one.run_id,
                        one.result_type,
                        one.created_at,
                        one.display,
                        _bare(one.data),
                    ]
                    for one in (results if ordered else sorted(results, key=lambda one: one.id))
                ),
            ]
        )
    return told


def _bare(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, value.tobytes()]
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def copied(source: str, target: str, *run_ids: str, **options: Any) -> Report:
    """Copy from one place to another, all runs or these."""
    homes = open_home(source, "relaxed"), open_home(target, "relaxed")
    return Copier(*homes, **options).copy(run_ids or None)
