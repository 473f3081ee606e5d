"""The sections of the report, each a list of paragraphs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from simswarm.report import measuring
from simswarm.report.markdown import number, quote, signed, sparkline, table, text
from simswarm.report.measuring import Moment, Span
from simswarm.report.reading import CHAT_LOG, POSTS, TRADES, TRAJECTORIES, Told

MOST_SPANS, MOST_VOICES, MOST_MOMENTS, MOST_MOVED, MOST_TRADERS = 12, 10, 5, 5, 5
_ASKED = {
    "Job": ("id", "job_id"),
    "Tier": ("tier",),
    "Rounds asked for": ("rounds", "max_rounds"),
    "Days to forecast": ("forecast_days",),
    "Created": ("created_at", "create_time"),
}


def asked(job: Mapping[str, object], spans: list[Span]) -> list[str]:
    """What the simulation was to find out, and how far it went."""
    rows = []
    for label, names in _ASKED.items():
        known = next((job[name] for name in names if job.get(name) not in (None, "")), None)
        if known is not None:
            rows.append([label, text(known)])
    rows.append(["Rounds played", f"{len(spans)} ({_numbers(spans)})" if spans else "none"])
    found = [quote(job.get("goal") or "no goal was given", 2_000), table(["", ""], rows)]
    seed = job.get("seed_text")
    if seed:
        found += ["It began with:", quote(seed, 500)]
    questions = job.get("markets_config")
    if isinstance(questions, list) and questions:
        known = [one for one in questions if isinstance(one, Mapping)]
        rows = [
            [text(one.get("question", ""), 200), _price(one.get("initial_price_yes"))]
            for one in known
        ]
        found += ["The markets were to answer:", table(["question", "yes at the start"], rows)]
    return found


def _numbers(spans: list[Span]) -> str:
    first, last = spans[0].first, spans[-1].last
    missing = last - first + 1 - len(spans)
    silent = f", {missing:,} without anything" if missing else ""
    return f"{first:,} to {last:,}{silent}"


def who(told: Told) -> list[str]:
    """How many took part, where, and by which acts."""
    acted = {one.agent for one in told.actions if one.kind != measuring.IDLE}
    found = [f"{len(told.names):,} agents, of whom {len(acted):,} acted."]
    agents: dict[str, set[str]] = defaultdict(set)
    kinds: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for one in told.actions:
        agents[one.platform].add(one.agent)
        places[one.platform] += one.kind != measuring.IDLE
        kinds[one.kind] += 1
        failed[one.kind] += not one.success
    if places:
        found.append(
            table(
                ["platform", "agents", "actions"],
                [[text(name) or "-", len(agents[name]), count] for name, count in _most(places)],
            )
        )
    if kinds:
        found.append(
            table(
                ["action", "times", "failed"],
                [[text(kind), count, failed[kind]] for kind, count in _most(kinds)[:15]],
            )
        )
    return found


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def activity(spans: list[Span]) -> list[str]:
    """What each round brought."""
    if not spans:
        return ["Nothing says what happened in which round."]
    most = max(spans, key=lambda one: (one.actions, -one.first))
    lines = []
    for label in ("actions", "posts", "reactions", "trades"):
        counts = [float(getattr(one, label)) for one in spans]
        lines.append([label, sparkline(counts, 0.0, max(counts)), sum(map(int, counts))])
    rows = [
        [_span(one), one.actions, one.posts, one.reactions, one.trades, len(one.agents)]
        for one in measuring.folded(spans, MOST_SPANS)
    ]
    return [
        f"Most happened in round {most.first:,}: {most.actions:,} actions of "
        f"{len(most.agents):,} agents.",
        table(["", "over the rounds", "in all"], lines),
        table(["rounds", "actions", "posts", "reactions", "trades", "agents who acted"], rows),
    ]


def _span(span: Span) -> str:
    return f"{span.first:,}" if span.first == span.last else f"{span.first:,} to {span.last:,}"


def loudest(told: Told, moments: list[Moment]) -> list[str]:
    """Who said most, and how that was taken."""
    loud = [one for one in measuring.voices(told, moments) if one.posts or one.comments]
    if not loud:
        return ["Nobody said anything."]
    said = sum(one.posts + one.comments for one in loud)
    first = loud[:MOST_VOICES]
    share = sum(one.posts + one.comments for one in first) / said
    return [
        f"{len(loud):,} agents wrote {said:,} posts and comments; {share:.0%} came from the "
        f"{len(first)} loudest.",
        table(
            ["agent", "posts", "comments", "actions", "reactions received"],
            [
                [_named(told, one.agent), one.posts, one.comments, one.actions, one.received]
                for one in first
            ],
        ),
    ]


def _named(told: Told, agent: str) -> str:
    """An agent's name; with its id where several are called so."""
    name = told.names.get(agent, agent)
    plain = text(name, 60) or text(agent, 60) or "-"
    alike = sum(other == name for other in told.names.values())
    return plain if alike < 2 or name == agent else f"{plain} ({text(agent, 60)})"


def engaging(told: Told, moments: list[Moment]) -> list[str]:
    """The posts that moved most, in their authors' words."""
    best = [one for one in moments if one.engagement and text(one.content)][:MOST_MOMENTS]
    if not best:
        return ["No post was liked, shared or answered, as far as the log tells."]
    found = []
    for place, one in enumerate(best, 1):
        where = f" on {text(one.platform)}" if one.platform else ""
        when = f" in round {one.round:,}" if one.round is not None else ""
        disliked = f", {_times(one.dislikes, 'dislike')}" if one.dislikes else ""
        found.append(
            f"**{place}.** {_named(told, one.agent)}{where}{when}: {_times(one.likes, 'like')}, "
            f"{_times(one.shares, 'share or comment', 'shares and comments')}{disliked}"
        )
        found.append(quote(one.content))
    return found


def _times(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def sentiment(told: Told) -> list[str]:
    """How the mood moved: of all, and of those whose moved most."""
    course = measuring.mood_of_all(told)
    if not any(mood for _, mood, _ in course):
        return ["No sentiment was measured."]
    low, high = (pick(course, key=lambda at: at[1]) for pick in (min, max))
    (first, start, _), (last, end, _) = course[0], course[-1]
    found = [
        f"Over all it went from {signed(start)} in round {first:,} to {signed(end)} in round "
        f"{last:,}. It was lowest in round {low[0]:,} ({signed(low[1])}) and highest in round "
        f"{high[0]:,} ({signed(high[1])}). The scale is -1 to +1; who wrote nothing in a round "
        "does not count in it.",
        f"From lowest to highest: `{sparkline([mood for _, mood, _ in course], low[1], high[1])}`",
    ]
    changes = sorted(
        ((moods[-1][1] - moods[0][1], agent) for agent, moods in told.moods.items() if moods),
        key=lambda one: (-one[0], one[1]),
    )
    warmer = [agent for change, agent in changes if change > 0][:MOST_MOVED]
    changes.sort()
    colder = [agent for change, agent in changes if change < 0][:MOST_MOVED]
    for label, agents in (("warmed", warmer), ("cooled", colder)):
        if agents:
            found += [f"Whose mood {label} most:", _moods(told, agents)]
    steady = sum(change == 0 for change, _ in changes)
    if steady:
        found.append(f"{_times(steady, 'agent')} ended as they began.")
    return found


def _moods(told: Told, agents: list[str]) -> str:
    rows = []
    for agent in agents:
        moods = [mood for _, mood in told.moods[agent]]
        numbers = [moods[0], moods[-1], moods[-1] - moods[0], min(moods), max(moods)]
        rows.append(
            [_named(told, agent), *map(signed, numbers), f"`{sparkline(moods, -1, 1, 20)}`"]
        )
    return table(["agent", "first", "last", "change", "lowest", "highest", "course"], rows)


def markets(told: Told) -> list[str]:
    """What was traded at which prices, and who gained."""
    traded = measuring.markets(told)
    if not traded:
        return ["Nothing was traded."]
    done = sum(trade.success for trade in told.trades)
    money = sum(one.money for one in traded)
    found = [
        f"{_times(done, 'trade')} for {number(money)} in all; "
        f"{_times(len(told.trades) - done, 'attempt')} came to nothing.",
        table(
            ["market", "outcome", "buys", "sells", "shares", "money"],
            [
                [text(one.market), text(one.outcome), one.buys, one.sells, one.shares, one.money]
                for one in traded
            ],
        ),
    ]
    priced = [one for one in traded if one.prices]
    if priced:
        rows = [
            [
                f"{text(one.market)} {text(one.outcome)}",
                *map(_price, (one.prices[0], one.prices[-1], min(one.prices), max(one.prices))),
                f"`{sparkline(one.prices, 0, 1)}`",
            ]
            for one in priced
        ]
        found.append(table(["price of", "first", "last", "lowest", "highest", "course"], rows))
    return found + _gains(told)


def _gains(told: Told) -> list[str]:
    ranked = measuring.standings(told)
    best = [one for one in ranked if one.gain > 0][:MOST_TRADERS]
    ranked.sort(key=lambda one: (one.gain, one.agent))
    worst = [one for one in ranked if one.gain < 0][:MOST_TRADERS]
    found = []
    for label, some in (("gained", best), ("lost", worst)):
        if some:
            rows = [
                [_named(told, one.agent), one.trades, *map(signed, (one.cash, one.worth, one.gain))]
                for one in some
            ]
            head = ["agent", "trades", "money in less out", "worth of shares", label]
            found += [f"Who {label} most, with shares at their last price:", table(head, rows)]
    return found


def _price(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "-" if value is None else text(value)


def missing(told: Told, lost: int) -> list[str]:
    """What the artifacts did not tell."""
    silent = sum(not moods for moods in told.moods.values())
    unpriced = sum(trade.success and measuring.amounts(trade) is None for trade in told.trades)
    rounds = [one.round for one in told.actions] + [one.round for one in told.posts]
    nowhere = (rounds + [one.round for one in told.trades]).count(None)
    counts = {
        "reactions to posts that the log does not name": lost,
        "trades with neither money nor shares, which count in no sum": unpriced,
        "entries without their round": nowhere,
        "agents without a sentiment in any round": silent,
    }
    said = [f"{what}: {count:,}" for what, count in counts.items() if count]
    said += [
        f"rows of {text(name)} that were not of the documented shape, and passed over: {count:,}"
        for name, count in sorted(told.unread.items())
    ]
    files = {
        CHAT_LOG: told.actions,
        POSTS: told.posts,
        TRADES: told.trades,
        TRAJECTORIES: told.moods,
    }
    said += [f"anything in {text(name)}" for name, held in files.items() if not held]
    return ["\n".join(f"- {one}" for one in said)] if said else ["Nothing."]
