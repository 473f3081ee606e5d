"""What is computed from what the artifacts say; pure, and the same for the same files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from simswarm.report.reading import Action, Told, Trade

LIKES = frozenset({"like_post"})
DISLIKES = frozenset({"dislike_post"})
COMMENTS = frozenset({"create_comment", "comment_post", "reply", "reply_post"})
SHARES = frozenset({"repost", "quote_post", "share_post"})
REACTIONS = LIKES | DISLIKES | COMMENTS | SHARES
IDLE = "do_nothing"


@dataclass(slots=True)
class Moment:
    """A post that can be told apart in the log, and what it brought; comments count as shares."""

    agent: str
    round: int | None
    platform: str
    content: str
    likes: int = 0
    shares: int = 0
    dislikes: int = 0

    @property
    def engagement(self) -> int:
        """Likes and shares together."""
        return self.likes + self.shares


@dataclass(slots=True)
class Voice:
    """How much an agent said and did, and how others took it."""

    agent: str
    posts: int = 0
    comments: int = 0
    actions: int = 0
    received: int = 0


@dataclass(slots=True)
class Span:
    """One round, or several that follow each other."""

    first: int
    last: int
    actions: int = 0
    posts: int = 0
    reactions: int = 0
    trades: int = 0
    agents: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Market:
    """What was traded of one outcome of a market."""

    market: str
    outcome: str
    buys: int = 0
    sells: int = 0
    shares: float = 0.0
    money: float = 0.0
    prices: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Standing:
    """An agent's trades: money in less money out, and what its shares were worth at the end."""

    agent: str
    trades: int = 0
    cash: float = 0.0
    worth: float = 0.0

    @property
    def gain(self) -> float:
        """How much richer it is than before its first trade."""
        return self.cash + self.worth


def moments(told: Told) -> tuple[list[Moment], int]:
    """The posts with most engagement first, and how many reactions belong to no known post.

    Ids of posts may be counted by each platform on its own: a post of the reaction's platform comes
    first, and one of another only when that is the only one.
    """
    made: dict[str, list[Moment]] = defaultdict(list)
    for one in told.actions:
        if one.kind == "create_post" and one.success and one.made:
            made[one.made].append(Moment(one.agent, one.round, one.platform, one.text))
    lost = 0
    for one in told.actions:
        if one.kind not in REACTIONS or not one.success:
            continue
        post = _meant(made.get(one.about, []), one)
        if post is None:
            lost += 1
        else:
            post.likes += one.kind in LIKES
            post.shares += one.kind in SHARES or one.kind in COMMENTS
            post.dislikes += one.kind in DISLIKES
    every = [post for posts in made.values() for post in posts]
    return sorted(every, key=lambda post: (-post.engagement, post.dislikes)), lost


def _meant(posts: Sequence[Moment], reaction: Action) -> Moment | None:
    near = [post for post in posts if post.platform == reaction.platform] or posts
    return near[0] if len(near) == 1 else None


def voices(told: Told, posts: Sequence[Moment]) -> list[Voice]:
    """Every agent, the loudest first: by posts and comments, then by actions, then by id."""
    every = {agent: Voice(agent) for agent in told.names}
    for post in told.posts:
        every[post.agent].posts += 1
    for one in told.actions:
        every[one.agent].actions += one.kind != IDLE
        every[one.agent].comments += one.kind in COMMENTS and one.success
    for moment in posts:
        every[moment.agent].received += moment.engagement + moment.dislikes
    return sorted(
        every.values(), key=lambda one: (-one.posts - one.comments, -one.actions, one.agent)
    )


def rounds(told: Told) -> list[Span]:
    """Every round of which the log, the posts or the trades tell, in order."""
    every: dict[int, Span] = {}

    def of(number: int | None) -> Span:
        if number is None:
            return Span(0, 0)  # counts nowhere: the row does not say its round
        return every.setdefault(number, Span(number, number))

    for one in told.actions:
        span = of(one.round)
        if one.kind != IDLE:
            span.actions += 1
            span.agents.add(one.agent)
        span.reactions += one.kind in REACTIONS and one.success
    for post in told.posts:
        of(post.round).posts += 1
    for trade in told.trades:
        of(trade.round).trades += trade.success
    return [every[number] for number in sorted(every)]


def folded(spans: Sequence[Span], most: int) -> list[Span]:
    """At most `most` spans: neighbours are put together, as evenly as it goes."""
    count = min(most, len(spans))
    made = []
    for place in range(count):
        part = spans[place * len(spans) // count : (place + 1) * len(spans) // count]
        made.append(
            Span(
                part[0].first,
                part[-1].last,
                sum(one.actions for one in part),
                sum(one.posts for one in part),
                sum(one.reactions for one in part),
                sum(one.trades for one in part),
                set().union(*(one.agents for one in part)),
            )
        )
    return made


def mood_of_all(told: Told) -> list[tuple[int, float, int]]:
    """Of each round the mean sentiment of those who wrote in it, and how many these were."""
    by_round: dict[int, list[float]] = defaultdict(list)
    for moods in told.moods.values():
        for number, mood in moods:
            by_round[number].append(mood)
    return [
        (number, sum(values) / len(values), len(values))
        for number, values in sorted(by_round.items())
    ]


def amounts(trade: Trade) -> tuple[float, float] | None:
    """The money and the shares of a trade; of money, shares and price two are enough."""
    money, shares, price = trade.money, trade.shares, trade.price
    if money is None and shares is not None and price is not None:
        money = shares * price
    if shares is None and money is not None and price:
        shares = money / price
    return None if money is None or shares is None else (money, shares)


def markets(told: Told) -> list[Market]:
    """What was traded, by market and outcome, in order of their names."""
    every: dict[tuple[str, str], Market] = {}
    for trade in told.trades:
        if not trade.success:
            continue
        of = every.setdefault((trade.market, trade.outcome), Market(trade.market, trade.outcome))
        of.buys += trade.buys
        of.sells += not trade.buys
        money, shares = amounts(trade) or (0.0, 0.0)
        of.money += money
        of.shares += shares
        if trade.price is not None:
            of.prices.append(trade.price)
    return [every[key] for key in sorted(every)]


def last_prices(told: Told) -> dict[tuple[str, str], float]:
    """What a share of each outcome was worth after the last trade.

    The prices of the two sides of a market add up to 1, so a trade of one tells that of the other.
    A market in which more than two outcomes were traded keeps the last price of each.
    """
    sides: dict[str, set[str]] = defaultdict(set)
    for trade in told.trades:
        sides[trade.market].add(trade.outcome)
    last: dict[tuple[str, str], float] = {}
    for trade in told.trades:
        if not trade.success or trade.price is None:
            continue
        last[trade.market, trade.outcome] = trade.price
        if len(sides[trade.market]) == 2:
            (other,) = sides[trade.market] - {trade.outcome}
            last[trade.market, other] = 1 - trade.price
    return last


def standings(told: Told) -> list[Standing]:
    """Who traded, the one that gained most first."""
    every: dict[str, Standing] = {}
    shares_of: dict[tuple[str, str, str], float] = defaultdict(float)
    for trade in told.trades:
        known = amounts(trade) if trade.success else None
        if known is None:
            continue
        money, shares = known
        one = every.setdefault(trade.agent, Standing(trade.agent))
        one.trades += 1
        one.cash += -money if trade.buys else money
        shares_of[trade.agent, trade.market, trade.outcome] += shares if trade.buys else -shares
    prices = last_prices(told)
    for (agent, market, outcome), shares in shares_of.items():
        every[agent].worth += shares * prices.get((market, outcome), 0.0)
    return sorted(every.values(), key=lambda one: (-one.gain, one.agent))
