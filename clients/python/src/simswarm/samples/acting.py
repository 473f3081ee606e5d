"""Who acts, and what they do: a small world of posts, follows and one market, played in rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import exp, log
from random import Random
from typing import Any

Action = dict[str, Any]

QUESTION = "Will the city council approve the river bridge?"
PLATFORMS = ("twitter", "reddit")
MARKET = "polymarket"
LIQUIDITY = 600.0
FIRST_ROUND = datetime(2026, 3, 2, 8, tzinfo=UTC)

_FIRST = ("Ada", "Bo", "Carmen", "Elif", "Farid", "Greta", "Hiro", "Kofi", "Lena", "Mei", "Omar")
_LAST = ("Okafor", "Lindgren", "Moreau", "Tanaka", "Novák", "Haddad", "Rossi", "Kaya", "O'Neil")
_TRADES = ("shopkeeper", "ferry pilot", "engineer", "retired teacher", "journalist", "nurse")
_TOPICS = ("the bridge", "the budget", "the traffic", "the ferry jobs", "the old market")
_FOR = ["would finally connect both sides", "pays for itself in ten years", "saves an hour a day"]
_AGAINST = ["costs more than anybody admits", "ends the ferry", "ruins the meadows"]
_USUAL = {
    "CREATE_POST": 30,
    "LIKE_POST": 18,
    "CREATE_COMMENT": 14,
    "FOLLOW": 9,
    "BUY_SHARES": 9,
    "DO_NOTHING": 8,
    "REPOST": 6,
    "DISLIKE_POST": 3,
    "SELL_SHARES": 3,
}
"""How often agents do what, of a hundred turns."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Somebody of the world; `stance` is between -1 (against) and 1 (for)."""

    id: str
    name: str
    persona: str
    stance: float
    activity: float
    platform: str


@dataclass(slots=True)
class World:
    """What happened: the agents, the log of their actions, who follows whom, and the prices."""

    agents: list[Agent]
    rounds: int
    log: list[Action] = field(default_factory=list)
    follows: list[tuple[Agent, Agent, str]] = field(default_factory=list)
    prices: list[tuple[int, float, float]] = field(default_factory=list)
    """After each trade: its round, the price of YES, the money moved so far."""
    held: dict[tuple[str, int], float] = field(default_factory=dict)
    """How many shares of a side an agent has."""


def played(seed: int, agents: int, rounds: int) -> World:
    """Play the rounds; the same seed gives the same world."""
    chance = Random(seed)  # noqa: S311 - not for secrets
    world = World([_agent(chance, number) for number in range(agents)], rounds)
    shares = [0.0, 0.0]
    for number in range(1, rounds + 1):
        start = FIRST_ROUND + timedelta(hours=number)
        active = [one for one in world.agents if chance.random() < one.activity]
        chance.shuffle(active)
        for place, agent in enumerate(active):
            kind = chance.choices(list(_USUAL), list(_USUAL.values()))[0]
            action = _Acting(world, chance, agent, number, shares).done(kind)
            time = start + timedelta(seconds=7 * place + chance.randrange(7))
            action["timestamp"] = time.isoformat().replace("+00:00", "Z")
            world.log.append(action)
    return world


def _agent(chance: Random, number: int) -> Agent:
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    stance = max(-1.0, min(1.0, chance.gauss(0.1, 0.5)))
    leaning = "in favour" if stance > 0.2 else "against" if stance < -0.2 else "undecided"
    trade = chance.choice(_TRADES)
    persona = (
        f"{first} {last}, {chance.randrange(19, 82)}, {trade}. Has lived here for "
        f"{chance.randrange(1, 40)} years and is {leaning}. Reads the local paper, argues "
        f"{chance.choice(['politely', 'with numbers', 'loudly', 'from experience'])}."
    )
    plain = "".join(
        letter for letter in f"{first}_{last}".lower() if letter.isalnum() or letter == "_"
    )
    return Agent(
        f"{plain}_{number}",
        f"{first} {last}",
        persona,
        stance,
        min(0.9, max(0.08, chance.gauss(0.42, 0.2))),
        chance.choice(PLATFORMS),
    )


@dataclass(frozen=True, slots=True)
class _Acting:
    """One turn of one agent."""

    world: World
    chance: Random
    agent: Agent
    round: int
    shares: list[float]

    def done(self, kind: str) -> Action:
        """The entry of the log, without its time."""
        platform, arguments, result, success = self.agent.platform, {}, None, True
        target = self._post() if kind not in ("CREATE_POST", "FOLLOW", "DO_NOTHING") else None
        if kind == "CREATE_POST" or (target is None and kind in ("CREATE_COMMENT", "REPOST")):
            kind = "CREATE_POST"
            arguments = {"text": self._text()}
            result = {"post_id": f"p{len(self.world.log)}"}
        elif kind == "FOLLOW":
            arguments, success = self._follow(platform)
        elif kind in ("BUY_SHARES", "SELL_SHARES"):
            platform = MARKET
            arguments, result, success = self._trade(kind == "BUY_SHARES")
        elif kind == "DO_NOTHING" or target is None:
            kind = "DO_NOTHING"
        else:
            arguments = {"post_id": target}
            if kind == "CREATE_COMMENT":
                arguments["text"] = self._text()
        return {
            "round_num": self.round,
            "agent_id": self.agent.id,
            "agent_name": self.agent.name,
            "action_type": kind,
            "platform": platform,
            "action_args": arguments,
            "action_result": result,
            "timestamp": None,
            "success": success,
        }

    def _text(self) -> str:
        if self.chance.random() < abs(self.agent.stance):
            reason = self.chance.choice(_FOR if self.agent.stance > 0 else _AGAINST)
        else:
            reason = self.chance.choice(_FOR + _AGAINST)
        topic = self.chance.choice(_TOPICS)
        end = self.chance.choice(
            ["What do you think?", "I said so in March.", "Read the report!", "🌉"]
        )
        return f"About {topic}: the new bridge {reason}. {end}"

    def _post(self) -> str | None:
        """A post of the agent's platform in the last rounds, the newer the likelier."""
        recent = [
            entry["action_result"]["post_id"]
            for entry in self.world.log[-400:]
            if entry["action_type"] == "CREATE_POST" and entry["platform"] == self.agent.platform
        ]
        return recent[int(len(recent) * self.chance.random() ** 0.5)] if recent else None

    def _follow(self, platform: str) -> tuple[dict[str, Any], bool]:
        other = self.chance.choice(self.world.agents)
        edge = (self.agent, other, platform)
        success = other is not self.agent and edge not in self.world.follows[-500:]
        if success:
            self.world.follows.append(edge)
        return {"followee_id": other.id}, success

    def _trade(self, buys: bool) -> tuple[dict[str, Any], dict[str, Any] | None, bool]:
        """Buy or sell at a logarithmic market scoring rule."""
        side = 0 if self.chance.random() < (self.agent.stance + 1) / 2 else 1
        amount = round(self.chance.uniform(1, 40), 2)
        arguments = {"market_id": "m1", "outcome": ("YES", "NO")[side], "amount": amount}
        holding = self.agent.id, side
        if not buys and self.world.held.get(holding, 0.0) < amount:
            return arguments, None, False
        self.world.held[holding] = self.world.held.get(holding, 0.0) + (amount if buys else -amount)
        before = _cost(self.shares)
        self.shares[side] += amount if buys else -amount
        money = abs(_cost(self.shares) - before)
        price_yes = 1 / (1 + exp((self.shares[1] - self.shares[0]) / LIQUIDITY))
        volume = self.world.prices[-1][2] if self.world.prices else 0.0
        self.world.prices.append((self.round, price_yes, volume + money))
        price = price_yes if side == 0 else 1 - price_yes
        result = {"price": round(price, 4), "cost": round(money, 4), "shares": amount}
        return arguments, result, True


def _cost(shares: list[float]) -> float:
    return LIQUIDITY * log(sum(exp(each / LIQUIDITY) for each in shares))
