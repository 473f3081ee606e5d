"""Artifacts as a finished simulation leaves them: for tests, demonstrations and measurements.

The same seed gives the same bytes. One log of actions is made first, and every file is computed
from it, so the files agree with each other as real ones do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simswarm.samples import reading
from simswarm.samples.acting import played

AGENTS, ROUNDS = 200, 60
"""The size of a usual simulation."""


def artifacts(
    seed: int = 0,
    *,
    agents: int = AGENTS,
    rounds: int = ROUNDS,
    market_curves: bool | None = None,
) -> dict[str, bytes]:
    """The files of one job, by name.

    `market_curves` says whether that file is there; None leaves it to the seed, and two of three
    have none, for pods often produce none.
    """
    world = played(seed, agents, rounds)
    files: dict[str, Any] = {
        "agent_trajectories.json": reading.trajectories(world),
        "engagement_summary.json": reading.engagement(world),
        "top_posts.json": reading.top_posts(world),
        "posts.json": reading.posts(world),
        "trades.json": reading.trades(world),
        "social_graph.json": reading.social_graph(world),
        "profiles.json": reading.profiles(world),
        "chat_log.json": world.log,
        "relations.json": reading.relations(world),
    }
    if market_curves if market_curves is not None else seed % 3 == 0:
        files["market_curves.json"] = reading.market_curves(world)
    return {name: json.dumps(value, ensure_ascii=False).encode() for name, value in files.items()}


def write(
    folder: Path,
    seed: int = 0,
    *,
    agents: int = AGENTS,
    rounds: int = ROUNDS,
    market_curves: bool | None = None,
) -> dict[str, Path]:
    """Write the files of one job into a folder; answer their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    made = artifacts(seed, agents=agents, rounds=rounds, market_curves=market_curves)
    for name, body in made.items():
        written[name] = folder / name
        written[name].write_bytes(body)
    return written
