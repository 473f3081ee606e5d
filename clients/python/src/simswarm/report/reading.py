"""What the artifacts say, as far as it can be read.

A file that is no JSON array is an error that names it. A row that is not of the documented shape is
passed over and counted: one bad line of a log of thousands does not cost the report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
MOST = 1e15
"""A larger number counts nothing that a simulation has."""

CHAT_LOG, POSTS, TRADES, TRAJECTORIES = (
    "chat_log.json",
    "posts.json",
    "trades.json",
    "agent_trajectories.json",
)


@dataclass(frozen=True, slots=True)
class Action:
    """An entry of the log; `kind` is in lower case, `about` the post it speaks of, "" for none."""

    round: int | None
    agent: str
    kind: str
    platform: str
    about: str
    made: str
    text: str
    success: bool


@dataclass(frozen=True, slots=True)
class Post:
    """A post, as its author wrote it."""

    round: int | None
    agent: str
    platform: str
    content: str


@dataclass(frozen=True, slots=True)
class Trade:
    """An attempt to buy or sell; without `success` nothing changed hands."""

    round: int | None
    agent: str
    buys: bool
    market: str
    outcome: str
    price: float | None
    money: float | None
    shares: float | None
    success: bool


@dataclass(slots=True)
class Told:
    """All that was read. `moods` are (round, sentiment) of each agent, in order of rounds."""

    names: dict[str, str] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    moods: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    """How many rows of which file were passed over."""


def read(chat_log: bytes, posts: bytes, trades: bytes, agent_trajectories: bytes) -> Told:
    """Read the four files. Raises ValueError that names the one that cannot be read."""
    told = Told()
    for row in _rows(CHAT_LOG, chat_log, told):
        told.actions.append(_action(row, told))
    for row in _rows(POSTS, posts, told):
        if row.get("success") is not False:
            told.posts.append(_post(row, told))
    for row in _rows(TRADES, trades, told):
        told.trades.append(_trade(row, told))
    for row in _rows(TRAJECTORIES, agent_trajectories, told):
        told.moods.setdefault(_agent(row, told), []).extend(_moods(row))
    for mood in told.moods.values():
        mood.sort(key=lambda at: at[0])
    return told


def _rows(name: str, body: bytes, told: Told) -> Iterator[Row]:
    """The rows of a file that say of whom they are."""
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not readable: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{name} is not readable: it holds no array but {type(rows).__name__}")
    for row in rows:
        if isinstance(row, dict) and _word(row.get("agent_id") or row.get("agent_name")):
            yield row
        else:
            told.unread[name] = told.unread.get(name, 0) + 1


def _action(row: Row, told: Told) -> Action:
    asked, got = _object(row.get("action_args")), _object(row.get("action_result"))
    said = asked.get("text")
    return Action(
        _round(row.get("round_num")),
        _agent(row, told),
        _word(row.get("action_type")).lower() or "unknown",
        _word(row.get("platform")),
        _word(asked.get("post_id")),
        _word(got.get("post_id")),
        said if isinstance(said, str) else _word(asked.get("content")),
        row.get("success") is not False,
    )


def _post(row: Row, told: Told) -> Post:
    return Post(
        _round(row.get("round_num")),
        _agent(row, told),
        _word(row.get("platform")),
        _word(row.get("content")),
    )


def _trade(row: Row, told: Told) -> Trade:
    return Trade(
        _round(row.get("round_num")),
        _agent(row, told),
        _word(row.get("side")).lower() != "sell",
        _word(row.get("market_id")),
        _word(row.get("outcome")),
        _price(row.get("price")),
        amount(row.get("cost")),
        amount(row.get("shares")),
        row.get("success") is not False,
    )


def _moods(row: Row) -> Iterator[tuple[int, float]]:
    """The sentiments of an agent; the older `stance_per_round` counts where there are no rounds.

    A round without a post and with sentiment 0 says nothing: nothing was written that has one.
    """
    for at in row.get("rounds") or row.get("stance_per_round") or ():
        if not isinstance(at, dict):
            continue
        number = _round(at.get("round", at.get("round_num")))
        mood = amount(at.get("sentiment", at.get("stance")))
        if number is not None and mood is not None and (mood or at.get("posts") != 0):
            yield number, max(-1.0, min(1.0, mood))


def _agent(row: Row, told: Told) -> str:
    """The id of an agent, whose name is taken down."""
    name = _word(row.get("agent_name") or row.get("name"))
    id = _word(row.get("agent_id")) or name
    if name and told.names.get(id, id) == id:
        told.names[id] = name
    told.names.setdefault(id, id)
    return id


def _object(value: object) -> Row:
    return value if isinstance(value, dict) else {}


def _word(value: object) -> str:
    """A text, or a number written as one; "" for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _price(value: object) -> float | None:
    known = amount(value)
    return known if known is not None and 0 <= known <= 1 else None


def _round(value: object) -> int | None:
    known = amount(value)
    return None if known is None or known < 0 else int(known)


def amount(value: object) -> float | None:
    """A number of a sensible size, None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        known = float(value)
    except OverflowError:
        return None
    return known if abs(known) <= MOST else None
