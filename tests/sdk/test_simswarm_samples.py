"""The generated artifacts have the documented shapes, agree with each other, and are repeatable."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from simswarm.samples import artifacts, write
from simswarm.storage import SIM_DATA_FILES

SEED = 3


@cache
def files() -> dict[str, Any]:
    return {name: json.loads(body) for name, body in artifacts(SEED).items()}


KEYS = {
    "chat_log.json": "round_num agent_id agent_name action_type platform action_args "
    "action_result timestamp success",
    "posts.json": "agent_id agent_name platform content round_num action_type timestamp success",
    "top_posts.json": "post_id agent_id agent_name platform content round_num timestamp num_likes "
    "num_shares num_dislikes engagement",
    "engagement_summary.json": "round total_posts total_likes total_comments active_agents",
    "agent_trajectories.json": "agent_id name rounds",
    "profiles.json": "agent_id name persona total_posts total_actions rounds_active platforms",
    "trades.json": "trade_id side agent_id agent_name round_num platform market_id outcome price "
    "cost shares amount_requested timestamp success",
    "relations.json": "source target type fact",
    "market_curves.json": "market_id question outcome_a outcome_b points",
}


@pytest.mark.parametrize("name", KEYS)
def test_each_row_has_the_documented_keys(name: str) -> None:
    rows = files()[name]
    assert rows
    for row in rows:
        assert list(row) == KEYS[name].split()


def test_a_usual_simulation_is_of_realistic_size() -> None:
    assert set(files()) == set(SIM_DATA_FILES)
    assert len(files()["profiles.json"]) == len(files()["agent_trajectories.json"]) == 200
    assert len(files()["engagement_summary.json"]) == 60
    assert 3_000 < len(files()["chat_log.json"]) < 10_000
    assert 1 << 20 < sum(map(len, artifacts(SEED).values())) < 8 << 20


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert artifacts(5, agents=9, rounds=4) == artifacts(5, agents=9, rounds=4)
    assert artifacts(5, agents=9, rounds=4) != artifacts(6, agents=9, rounds=4)


def test_two_of_three_seeds_leave_no_market_curves() -> None:
    there = ["market_curves.json" in artifacts(seed, agents=5, rounds=3) for seed in range(6)]
    assert there == [True, False, False] * 2
    assert "market_curves.json" not in artifacts(3, agents=5, rounds=3, market_curves=False)


def test_the_files_agree_with_the_log() -> None:
    log = files()["chat_log.json"]
    posts = [entry for entry in log if entry["action_type"] == "CREATE_POST"]
    assert [post["content"] for post in files()["posts.json"]] == [
        entry["action_args"]["text"] for entry in posts
    ]
    by_round = files()["engagement_summary.json"]
    assert [row["round"] for row in by_round] == sorted(row["round"] for row in by_round)
    assert sum(row["total_posts"] for row in by_round) == len(posts)
    assert sum(row["total_actions"] for row in files()["profiles.json"]) == len(log)
    top = files()["top_posts.json"]
    assert len(top) == 20
    assert [row["engagement"] for row in top] == sorted(
        (row["num_likes"] + row["num_shares"] for row in top), reverse=True
    )


def test_numbers_stay_in_their_bounds() -> None:
    for agent in files()["agent_trajectories.json"]:
        assert all(-1 <= one["sentiment"] <= 1 for one in agent["rounds"])
    for trade in files()["trades.json"]:
        assert trade["side"] in ("buy", "sell")
        assert (trade["price"] is None) == (not trade["success"])
        assert trade["price"] is None or 0 <= trade["price"] <= 1
    (curve,) = files()["market_curves.json"]
    assert len(curve["points"]) == sum(trade["success"] for trade in files()["trades.json"])
    assert all(abs(at["price_yes"] + at["price_no"] - 1) < 1e-3 for at in curve["points"])
    assert all(len(row["type"]) <= 40 for row in files()["relations.json"])


def test_the_graph_knows_agents_only() -> None:
    graph = files()["social_graph.json"]
    known = {agent["agent_id"] for agent in files()["profiles.json"]}
    assert graph["edges"]
    for edge in graph["edges"]:
        assert {edge["follower_id"], edge["followee_id"]} <= known
    pairs = {(edge["follower_id"], edge["followee_id"]) for edge in graph["edges"]}
    for mutual in graph["mutual_follows"]:
        a, b = mutual["agent_a"], mutual["agent_b"]
        assert (a, b) in pairs
        assert (b, a) in pairs


def test_they_can_be_written_as_files(tmp_path: Path) -> None:
    written = write(tmp_path / "job", 4, agents=6, rounds=3)
    assert sorted(written) == sorted(path.name for path in (tmp_path / "job").iterdir())
    assert {name: path.read_bytes() for name, path in written.items()} == artifacts(
        4, agents=6, rounds=3
    )


@pytest.mark.parametrize("there", [True, False])
def test_the_command_writes_a_job_with_or_without_market_curves(
    tmp_path: Path, there: bool
) -> None:
    command = [
        sys.executable,
        "-m",
        "simswarm.samples",
        str(tmp_path),
        "--agents",
        "5",
        "--rounds",
        "3",
    ]
    flag = "--market-curves" if there else "--no-market-curves"
    said = subprocess.run([*command, flag], capture_output=True, text=True, timeout=60, check=True)
    assert len(said.stdout.splitlines()) == len(list(tmp_path.iterdir())) == 9 + there
    assert (tmp_path / "market_curves.json").exists() == there


def test_agents_react_where_they_are_and_sell_what_they_have() -> None:
    platform = {
        entry["action_result"]["post_id"]: entry["platform"]
        for entry in files()["chat_log.json"]
        if entry["action_type"] == "CREATE_POST"
    }
    for entry in files()["chat_log.json"]:
        if "post_id" in entry["action_args"]:
            assert platform[entry["action_args"]["post_id"]] == entry["platform"]
    held: dict[tuple[str, str], float] = {}
    trades = files()["trades.json"]
    for trade in trades:
        if trade["success"]:
            key = trade["agent_id"], trade["outcome"]
            sign = 1 if trade["side"] == "buy" else -1
            held[key] = held.get(key, 0.0) + sign * trade["shares"]
            assert held[key] > -1e-6
    assert any(not trade["success"] for trade in trades)
    (curve,) = files()["market_curves.json"]
    assert min(at["price_yes"] for at in curve["points"]) > 0.02
    assert max(at["price_yes"] for at in curve["points"]) < 0.98
