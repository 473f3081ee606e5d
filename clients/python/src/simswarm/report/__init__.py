"""A report of a simulation in plain Markdown, computed from what it left behind."""

from __future__ import annotations

from collections.abc import Mapping

from simswarm.report import measuring, sections
from simswarm.report.reading import read

__all__ = ["write_report"]


def write_report(
    job: Mapping[str, object],
    chat_log: bytes,
    posts: bytes,
    trades: bytes,
    agent_trajectories: bytes,
) -> str:
    """The report of a job, from the bytes of its four required artifacts.

    Of `job` the keys `id`, `goal`, `tier`, `rounds` (what was asked for), `forecast_days`,
    `created_at`, `seed_text` and `markets_config` count where they are there. The same input gives
    the same text. Whatever stands in the artifacts is shown as words: it can bring no heading, tag
    or link into the report, nor break a table. Rows that are not of the documented shape are
    passed over, and counted in the report's last section.

    Raises ValueError that names the file, such as `posts.json`, which is no JSON array.
    """
    told = read(chat_log, posts, trades, agent_trajectories)
    spans = measuring.rounds(told)
    moments, lost = measuring.moments(told)
    parts = {
        "What was asked": sections.asked(job, spans),
        "Who took part": sections.who(told),
        "Activity by round": sections.activity(spans),
        "The loudest voices": sections.loudest(told, moments),
        "The most engaging moments": sections.engaging(told, moments),
        "How sentiment moved": sections.sentiment(told),
        "Markets and trades": sections.markets(told),
        "What was missing": sections.missing(told, lost),
    }
    paragraphs = ["# Simulation report"]
    for title, body in parts.items():
        paragraphs += [f"## {title}", *body]
    return "\n\n".join(paragraphs) + "\n"
