"""The report of a simulation says what its artifacts say, and nothing that they smuggle in."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from simswarm.report import write_report
from simswarm.report.markdown import quote, sparkline, table, text
from simswarm.samples import artifacts

NAMES = ("chat_log.json", "posts.json", "trades.json", "agent_trajectories.json")
EMPTY = dict.fromkeys(NAMES, b"[]")
JOB = {"id": 7, "goal": "Will the bridge be built?", "tier": "small", "rounds": 60}


def report(job: Mapping[str, object] = JOB, /, **files: bytes) -> str:
    bodies = EMPTY | {f"{name}.json": body for name, body in files.items()}
    return write_report(job, *(bodies[name] for name in NAMES))


def lines(**files: list[dict[str, Any]]) -> list[str]:
    return report(**{name: json.dumps(rows).encode() for name, rows in files.items()}).splitlines()


@cache
def sample() -> dict[str, Any]:
    return {name: json.loads(body) for name, body in artifacts(3).items()}


@cache
def of_sample() -> str:
    files = artifacts(3)
    return write_report(JOB, *(files[name] for name in NAMES))


def act(round: int, agent: str, kind: str, **more: Any) -> dict[str, Any]:
    about = {key: more.pop(key) for key in ("post_id", "text", "content") if key in more}
    return {
        "round_num": round,
        "agent_id": agent,
        "agent_name": agent.title(),
        "action_type": kind,
        "platform": more.pop("platform", "twitter"),
        "action_args": about,
        "action_result": more.pop("result", None),
        "timestamp": None,
        "success": more.pop("success", True),
    }


def trade(
    agent: str, side: str, outcome: str, price: float, shares: float, cost: float | None
) -> dict[str, Any]:
    return {
        "agent_id": agent,
        "agent_name": agent.title(),
        "side": side,
        "round_num": 1,
        "platform": "polymarket",
        "market_id": "m1",
        "outcome": outcome,
        "price": price,
        "shares": shares,
        "cost": cost,
        "success": True,
    }


def test_it_says_what_was_asked() -> None:
    job = JOB | {
        "forecast_days": 30,
        "seed_text": "The council met.",
        "markets_config": [{"question": "Built by 2030?", "initial_price_yes": 0.25}],
    }
    said = report(job)
    assert "> Will the bridge be built?" in said
    for row in ("| Job | 7 |", "| Tier | small |", "| Rounds asked for | 60 |"):
        assert row in said
    assert "| Days to forecast | 30 |" in said
    assert "> The council met." in said
    assert "| Built by 2030? | 0.25 |" in said


def test_engagement_is_counted_by_hand() -> None:
    said = lines(
        chat_log=[
            act(1, "ada", "CREATE_POST", text="First!", result={"post_id": 1}),
            act(1, "bo", "create_post", content="Second!", result={"post_id": "2"}),
            act(2, "bo", "LIKE_POST", post_id=1),
            act(2, "cy", "REPOST", post_id="1"),
            act(2, "cy", "CREATE_COMMENT", post_id=1, text="Yes"),
            act(4, "cy", "LIKE_POST", post_id=2),
            act(4, "cy", "DISLIKE_POST", post_id=2),
            act(4, "ada", "LIKE_POST", post_id=2, success=False),
            act(4, "ada", "LIKE_POST", post_id=99),
        ],
        posts=[
            act(1, "ada", "create_post") | {"content": "First!"},
            act(1, "bo", "create_post") | {"content": "Second!"},
        ],
    )
    first = said.index("**1.** Ada on twitter in round 1: 1 like, 2 shares and comments")
    assert said[first + 2] == "> First!"
    second = said.index("**2.** Bo on twitter in round 1: 1 like, 0 shares and comments, 1 dislike")
    assert said[second + 2] == "> Second!"
    assert "| Cy | 0 | 1 | 4 | 0 |" in said
    assert "| Ada | 1 | 0 | 3 | 3 |" in said
    assert "| Rounds played | 3 (1 to 4, 1 without anything) |" in said
    assert "| 4 | 4 | 0 | 3 | 0 | 2 |" in said, "failed acts are acts, but no reactions"
    assert "- reactions to posts that the log does not name: 1" in said


def test_a_post_is_that_of_the_reactions_platform() -> None:
    posts = [
        act(1, "ada", "CREATE_POST", text="Here", result={"post_id": 1}),
        act(1, "bo", "CREATE_POST", text="There", result={"post_id": 1}, platform="reddit"),
    ]
    said = lines(chat_log=[*posts, act(2, "cy", "LIKE_POST", post_id=1, platform="reddit")])
    assert "**1.** Bo on reddit in round 1: 1 like, 0 shares and comments" in said
    assert not [line for line in said if line.startswith("**2.**")]
    unclear = lines(chat_log=[*posts, act(2, "cy", "LIKE_POST", post_id=1, platform="elsewhere")])
    assert "- reactions to posts that the log does not name: 1" in unclear


def test_gains_are_counted_by_hand() -> None:
    said = lines(
        trades=[
            trade("ada", "buy", "YES", 0.5, 10, 5.0),
            trade("bo", "buy", "NO", 0.5, 10, 5.0),
            trade("ada", "buy", "YES", 0.75, 4, None),  # 3.00 by its price
            trade("cy", "sell", "YES", 0.8, 2, 1.6),
            {**trade("cy", "buy", "YES", 0.9, 9, 9.0), "success": False},
            {**trade("cy", "buy", "YES", 0.8, 0, 0.0), "cost": None, "shares": None},
        ]
    )
    assert "5 trades for 14.60 in all; 1 attempt came to nothing." in said
    assert "| m1 | NO | 1 | 0 | 10.00 | 5.00 |" in said
    assert "| m1 | YES | 3 | 1 | 16.00 | 9.60 |" in said
    assert "| m1 YES | 0.50 | 0.80 | 0.50 | 0.80 | `▅▇▇▇` |" in said
    assert "| Ada | 2 | -8.00 | +11.20 | +3.20 |" in said, "14 shares at 0.80"
    assert "| Bo | 1 | -5.00 | +2.00 | -3.00 |" in said, "10 shares at the other side of 0.80"
    assert "- trades with neither money nor shares, which count in no sum: 1" in said


def test_sentiment_is_followed_by_hand() -> None:
    said = lines(
        agent_trajectories=[
            {
                "agent_id": "ada",
                "name": "Ada",
                "rounds": [
                    {"round": 3, "posts": 1, "actions": 1, "sentiment": 0.5},
                    {"round": 1, "posts": 1, "actions": 1, "sentiment": -0.5},
                    {"round": 2, "posts": 0, "actions": 4, "sentiment": 0.0},
                ],
            },
            {
                "agent_id": "bo",
                "name": "Bo",
                "stance_per_round": [
                    {"round_num": 1, "sentiment": 0.9},
                    {"round_num": 3, "stance": 0.1},
                ],
            },
            {"agent_id": "cy", "name": "Cy", "rounds": []},
        ]
    )
    assert any(
        line.startswith("Over all it went from +0.20 in round 1 to +0.30 in round 3.")
        for line in said
    )
    assert "| Ada | -0.50 | +0.50 | +1.00 | -0.50 | +0.50 | `▃▇` |" in said
    assert "| Bo | +0.90 | +0.10 | -0.80 | +0.10 | +0.90 | `█▅` |" in said
    assert "- agents without a sentiment in any round: 1" in said


def test_a_sample_is_reported_as_its_files_say() -> None:
    said = of_sample()
    log, trades = sample()["chat_log.json"], sample()["trades.json"]
    assert "200 agents" in said
    assert "| Rounds played | 60 (1 to 60) |" in said
    kinds = Counter(entry["action_type"].lower() for entry in log)
    for kind, count in kinds.items():
        assert f"| {text(kind)} | {count:,} | " in said
    done = [one for one in trades if one["success"]]
    money = sum(one["cost"] for one in done)
    failed = len(trades) - len(done)
    assert f"{len(done):,} trades for {money:,.2f} in all; {failed:,} attempt" in said
    top = sample()["top_posts.json"][0]
    best = said.partition("**1.**")[2]
    assert f"{top['num_likes']:,} like" in best.partition("\n")[0]
    assert text(top["content"], 280) in said
    assert len(said) < 20_000


def test_the_same_files_give_the_same_report() -> None:
    files = artifacts(3)
    again = write_report(dict(reversed(JOB.items())), *(files[name] for name in NAMES))
    assert again == of_sample()
    assert parsed(again)


def test_nothing_at_all_is_a_report_too() -> None:
    said = report({})
    for nothing in (
        "> no goal was given",
        "| Rounds played | none |",
        "Nobody said anything.",
        "No sentiment was measured.",
        "Nothing was traded.",
        r"- anything in chat\_log.json",
    ):
        assert nothing in said


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\x00", b"{", b'{"a": 1}', b"null", b"[" * 200_000, b"[1" + b"0" * 9_999]
)
def test_a_file_that_is_not_readable_is_named(name: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(name)} is not readable"):
        report(**{name.removesuffix(".json"): body})


def test_rows_of_another_shape_are_passed_over_and_counted() -> None:
    strange = json.dumps(
        [
            None,
            7,
            [],
            {},
            {"agent_id": None},
            {"agent_id": "ada", "action_args": [], "action_result": "x", "round_num": "two"},
            {"agent_id": 7, "round_num": 1e300, "action_type": 5, "action_args": {"text": {}}},
            {
                "agent_name": "Only Name",
                "price": 10**400,
                "cost": True,
                "shares": -1,
                "rounds": [0],
            },
        ]
    ).replace('"two"', "NaN")
    said = report(
        **dict.fromkeys(("chat_log", "posts", "trades", "agent_trajectories"), strange.encode())
    )
    for name in NAMES:
        assert f"- rows of {text(name)} that were not of the documented shape" in said
    assert "passed over: 5" in said
    assert "Only Name" in said


HOSTILE = (
    "# big\n\n<script>alert(1)</script> | cell | ![x](http://evil.example/i.png) `code` \\| "
    "[a](javascript:x) **b** <http://evil.example> www.evil.example me@evil.example\r\n---\n| a |\n"
    "\x1b[31mred\x00 \u202egnp.exe ~~gone~~ $x$ &lt;b&gt; &#124; @everyone"
)


def parsed(markdown: str) -> list[Token]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    every = []
    for token in parser.parse(markdown):
        every += [token, *(token.children or ())]
    return every


def everywhere(word: str) -> str:
    """The report of a simulation in which `word` stands wherever a text may."""
    told = {"agent_id": word, "agent_name": word, "platform": word, "round_num": 1}
    log = [
        act(1, "x", "CREATE_POST", text=word, result={"post_id": word}) | told,
        act(1, "x", "LIKE_POST", post_id=word) | told,
        act(1, "x", word) | told,
    ]
    deal = trade("x", "buy", word, 0.5, 1, 0.4) | told | {"market_id": word}
    moods = [{"round": 1, "sentiment": 0.5}, {"round": 2, "sentiment": 0.7}]
    job = dict.fromkeys(("id", "goal", "tier", "rounds", "created_at", "seed_text"), word)
    return report(
        {**job, "markets_config": [{"question": word, "initial_price_yes": word}]},
        chat_log=json.dumps(log).encode(),
        posts=json.dumps([{**told, "content": word}]).encode(),
        trades=json.dumps([deal]).encode(),
        agent_trajectories=json.dumps([{**told, "rounds": moods}]).encode(),
    )


def test_hostile_text_stays_text() -> None:
    said = everywhere(HOSTILE)
    assert said.count("alert") > 10
    assert shape(said) == shape(everywhere("x"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", said)


def shape(markdown: str) -> list[str]:
    return [token.type for token in parsed(markdown) if token.type != "text"]


def printed(said: str) -> str:
    """What is left of a text: no control characters, none that turn it around, one line."""
    left = ""
    for letter in said:
        kind = unicodedata.category(letter)
        if kind in ("Cc", "Zl", "Zp"):
            left += " "
        elif kind != "Cf" or letter in "\u200c\u200d":
            left += letter
    return " ".join(left.split())


PIECES = [
    "&lt;",
    "&#124;",
    "<b>",
    "![x](y)",
    "http://a.b",
    "|",
    "\\",
    "\n\n",
    "# ",
    "1. ",
    "- ",
    "**",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join))
def test_any_text_comes_back_as_the_words_it_was(said: str) -> None:
    said += "x"
    for markdown in (text(said), quote(said), table(["", ""], [[text(said), "-"]])):
        tokens = parsed(markdown)
        assert {token.type for token in tokens if token.nesting == 0} <= {"text", "inline"}
        shown = [token.content for token in tokens if token.type == "text"]
        assert printed(said) == "".join(shown).removesuffix("-" if "|" in markdown else "")


def test_a_long_text_ends_with_dots_and_no_broken_mark() -> None:
    assert text("*" * 500, 10) == r"\*" * 9 + "…"
    assert text("a " + " " * 5_000 + "b", 10) == "a…"
    assert text("3) then 4. now", 30) == r"3\) then 4. now"
    assert text("- not a list") == r"\- not a list"
    assert text("see https://x.example") == r"see https\://x.example"


def test_bars_go_from_low_to_high() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 7.9) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, 1], 1, 1) == "▁▁"
    assert sparkline([], 0, 1) == ""
    assert sparkline([0.0] * 50 + [1.0] * 50, 0, 1, width=4) == "▁▁██"
