"""The documents point at what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def markdown() -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "*.md"], capture_output=True, text=True, check=True
    )
    return sorted(name for name in listed.stdout.split() if (ROOT / name).exists())


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings of a document."""
    plain = FENCE.sub("", text)
    words = (
        re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", h).lower() for h in HEADING.findall(plain)
    )
    return {re.sub(r"[^\w\- ]", "", w).replace(" ", "-") for w in words}


def broken(name: str, text: str, root: Path = ROOT) -> list[str]:
    """The links of a document that lead nowhere inside the repository."""
    found = []
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (root / name).parent / path if path else root / name
        document = place.suffix == ".md" and place.exists()
        if not place.exists() or (anchor and document and anchor not in anchors(place.read_text())):
            found.append(target)
    return found


@pytest.mark.parametrize("name", markdown())
def test_every_link_leads_somewhere(name: str) -> None:
    assert broken(name, (ROOT / name).read_text()) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One way\n```\n# not a heading\n```\n")
    text = "[a](there.md) [b](there.md#one-way) [c](gone.md) [d](there.md#not-a-heading) [e](#x)"
    (tmp_path / "here.md").write_text(text)
    assert broken("here.md", text, tmp_path) == ["gone.md", "there.md#not-a-heading", "#x"]


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    missing = [
        name
        for name in markdown()
        if name.startswith("docs/")
        and name != "docs/README.md"
        and f"({name.removeprefix('docs/')})" not in index
    ]
    assert missing == []
