"""Markdown that says what it is given, whoever wrote that.

Everything from outside goes through `text`: it comes back as one line without a mark, a tag or a
link in it, and may stand in a paragraph, a quote, or the cell of a table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

BARS = "▁▂▃▄▅▆▇█"
_MARKS = re.compile(r"([\\`*_\[\]~$#^@])")
_TAGS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_BULLET = re.compile(r"^[-+=]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")
_NUMBER = re.compile(r"[+-]?[\d,.]+|-")
_ADDRESS = re.compile(r"(?i)(://|\bwww\.)")
_JOINERS = "\u200c\u200d"
"""Written in words of some languages and between the parts of an emoji."""


def text(value: object, limit: int = 80) -> str:
    """`value` as one line of at most `limit` characters (before escaping), all marks escaped."""
    whole = str(value)
    plain = " ".join("".join(map(_printed, whole[: 8 * limit])).split())
    if len(plain) > limit or len(whole) > 8 * limit:
        plain = plain[: limit - 1].rstrip() + "…"
    return _escaped(plain)


def _printed(letter: str) -> str:
    """The letter; a space for what moves the cursor, nothing for what turns the text around."""
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    if kind == "Cf" and letter not in _JOINERS:
        return ""
    return "\N{REPLACEMENT CHARACTER}" if kind == "Cs" else letter


def _escaped(plain: str) -> str:
    marked = _MARKS.sub(r"\\\1", plain)
    marked = _ADDRESS.sub(lambda found: _unlinked(found[0]), marked)
    marked = "".join(_TAGS.get(letter, letter) for letter in marked)
    return _NUMBERED.sub(r"\1\\\2", _BULLET.sub(r"\\\g<0>", marked))


def _unlinked(start: str) -> str:
    return r"\://" if start == "://" else start[:-1] + r"\."


def quote(value: object, limit: int = 280) -> str:
    """`value` as a quotation of one paragraph."""
    return f"> {text(value, limit)}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns of numbers stand right. Cells that are texts are Markdown already."""
    made = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    right = [all(_NUMBER.fullmatch(cell) for cell in column) for column in zip(*made, strict=True)]
    lines = [head, ["--:" if is_number else "---" for is_number in right], *made]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: object, digits: int = 2) -> str:
    """A number for reading: 1,234 or 1,234.50; nothing known is a dash."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value + 0.0:,.{digits}f}"
    return "-"


def signed(value: float) -> str:
    """A number that has a direction: +0.12, -0.40, 0.00."""
    shown = f"{value:+,.2f}"
    return shown[1:] if shown.strip("+-0.,") == "" else shown


def sparkline(values: Sequence[float], low: float, high: float, width: int = 40) -> str:
    """The values as little bars between `low` and `high`; means where there are too many."""
    count = min(width, len(values))
    bars = []
    for place in range(count):
        start, end = place * len(values) // count, (place + 1) * len(values) // count
        mean = sum(values[start:end]) / (end - start)
        share = (mean - low) / (high - low) if high > low else 0.0
        bars.append(BARS[min(len(BARS) - 1, max(0, int(share * len(BARS))))])
    return "".join(bars)
