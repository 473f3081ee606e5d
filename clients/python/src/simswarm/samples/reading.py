"""The files of a job, each read off the log of actions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from simswarm.samples.acting import QUESTION, Action, World

Row = dict[str, Any]

MOST_TOP_POSTS = 20
_POSITIVE = ("connect", "pays", "saves")
_NEGATIVE = ("costs", "ends", "ruins")


def posts(world: World) -> list[Row]:
    """Every post, in the order of the log."""
    return [
        {
            "agent_id": entry["agent_id"],
            "agent_name": entry["agent_name"],
            "platform": entry["platform"],
            "content": entry["action_args"]["text"],
            "round_num": entry["round_num"],
            "action_type": entry["action_type"],
            "timestamp": entry["timestamp"],
            "success": entry["success"],
        }
        for entry in _posted(world)
    ]


def _posted(world: World) -> Iterator[Action]:
    return (entry for entry in world.log if entry["action_type"] == "CREATE_POST")


def _reactions(world: World) -> dict[str, Counter[str]]:
    """How often each post was liked, shared, disliked."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in world.log:
        if "post_id" in entry["action_args"]:
            seen[entry["action_args"]["post_id"]][entry["action_type"]] += 1
    return seen


def top_posts(world: World) -> list[Row]:
    """The posts with most likes and shares; comments count as shares."""
    reactions = _reactions(world)
    rows = []
    for entry in _posted(world):
        id = entry["action_result"]["post_id"]
        seen = reactions[id]
        likes, shares = seen["LIKE_POST"], seen["REPOST"] + seen["CREATE_COMMENT"]
        rows.append(
            {
                "post_id": id,
                "agent_id": entry["agent_id"],
                "agent_name": entry["agent_name"],
                "platform": entry["platform"],
                "content": entry["action_args"]["text"],
                "round_num": entry["round_num"],
                "timestamp": entry["timestamp"],
                "num_likes": likes,
                "num_shares": shares,
                "num_dislikes": seen["DISLIKE_POST"],
                "engagement": likes + shares,
            }
        )
    return sorted(rows, key=lambda row: -row["engagement"])[:MOST_TOP_POSTS]


def engagement(world: World) -> list[Row]:
    """What each round brought, ascending."""
    rows = []
    for number in range(1, world.rounds + 1):
        entries = [entry for entry in world.log if entry["round_num"] == number]
        kinds = Counter(entry["action_type"] for entry in entries)
        rows.append(
            {
                "round": number,
                "total_posts": kinds["CREATE_POST"],
                "total_likes": kinds["LIKE_POST"],
                "total_comments": kinds["CREATE_COMMENT"],
                "active_agents": len({entry["agent_id"] for entry in entries}),
            }
        )
    return rows


def trajectories(world: World) -> list[Row]:
    """What each agent did in each of its rounds, and in what mood."""
    by_agent: dict[str, dict[int, list[Action]]] = defaultdict(lambda: defaultdict(list))
    for entry in world.log:
        by_agent[entry["agent_id"]][entry["round_num"]].append(entry)
    return [
        {
            "agent_id": agent.id,
            "name": agent.name,
            "rounds": [
                {
                    "round": number,
                    "posts": sum(entry["action_type"] == "CREATE_POST" for entry in entries),
                    "actions": len(entries),
                    "sentiment": _sentiment(entries),
                }
                for number, entries in sorted(by_agent[agent.id].items())
            ],
        }
        for agent in world.agents
    ]


def _sentiment(entries: list[Action]) -> float:
    """Between -1 and 1, 0 when nothing was written."""
    text = " ".join(entry["action_args"].get("text", "") for entry in entries)
    good = sum(text.count(word) for word in _POSITIVE)
    bad = sum(text.count(word) for word in _NEGATIVE)
    return round((good - bad) / (good + bad + 0.5), 4)


def trades(world: World) -> list[Row]:
    """Every attempt to buy or sell."""
    rows: list[Row] = []
    for entry in world.log:
        if entry["action_type"] not in ("BUY_SHARES", "SELL_SHARES"):
            continue
        asked, got = entry["action_args"], entry["action_result"] or {}
        rows.append(
            {
                "trade_id": f"t{len(rows)}",
                "side": "buy" if entry["action_type"] == "BUY_SHARES" else "sell",
                "agent_id": entry["agent_id"],
                "agent_name": entry["agent_name"],
                "round_num": entry["round_num"],
                "platform": entry["platform"],
                "market_id": asked["market_id"],
                "outcome": asked["outcome"],
                "price": got.get("price"),
                "cost": got.get("cost"),
                "shares": got.get("shares"),
                "amount_requested": asked["amount"],
                "timestamp": entry["timestamp"],
                "success": entry["success"],
            }
        )
    return rows


def market_curves(world: World) -> list[Row]:
    """The prices of each market, trade by trade."""
    points = [
        {
            "trade_idx": place,
            "round_num": number,
            "price_yes": round(price, 4),
            "price_no": round(1 - price, 4),
            "volume": round(volume, 2),
        }
        for place, (number, price, volume) in enumerate(world.prices)
    ]
    market = {"market_id": "m1", "question": QUESTION, "outcome_a": "YES", "outcome_b": "NO"}
    return [{**market, "points": points}]


def social_graph(world: World) -> Row:
    """Who follows whom, and which pairs each other."""
    edges = {
        (follower.id, followee.id, platform): {
            "follower_id": follower.id,
            "follower_name": follower.name,
            "followee_id": followee.id,
            "followee_name": followee.name,
            "platform": platform,
        }
        for follower, followee, platform in world.follows
    }
    pairs = {(a, b) for a, b, _ in edges}
    mutual = sorted((a, b) for a, b in pairs if a < b and (b, a) in pairs)
    return {
        "edges": list(edges.values()),
        "mutual_follows": [{"agent_a": a, "agent_b": b} for a, b in mutual],
    }


def profiles(world: World) -> list[Row]:
    """Who the agents are."""
    by_agent: dict[str, list[Action]] = defaultdict(list)
    for entry in world.log:
        by_agent[entry["agent_id"]].append(entry)
    return [
        {
            "agent_id": agent.id,
            "name": agent.name,
            "persona": agent.persona,
            "total_posts": sum(
                entry["action_type"] == "CREATE_POST" for entry in by_agent[agent.id]
            ),
            "total_actions": len(by_agent[agent.id]),
            "rounds_active": len({entry["round_num"] for entry in by_agent[agent.id]}),
            "platforms": sorted({entry["platform"] for entry in by_agent[agent.id]}),
        }
        for agent in world.agents
    ]


def relations(world: World) -> list[Row]:
    """Who agrees with whom: of those who follow each other in words, a few dozen."""
    rows = []
    for follower, followee, _ in world.follows[:60]:
        agree = follower.stance * followee.stance > 0
        rows.append(
            {
                "source": follower.name,
                "target": followee.name,
                "type": "AGREES_WITH" if agree else "DISAGREES_WITH",
                "fact": f"{follower.name} {'shares' if agree else 'rejects'} what "
                f"{followee.name} says about the bridge.",
            }
        )
    return rows
