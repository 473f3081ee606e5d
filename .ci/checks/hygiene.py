"""What no tracked file may hold: addresses in lock files, index settings, home paths, long files;
and that no two tests are called the same.

    python .ci/checks/hygiene.py [ROOT]

A clone must install from wherever its machine is told to, so nothing committed may say where
packages come from. Prints one line per fault, `path:line: what and the mend`, and answers 1 when
there is one. Generated files (`linguist-generated` in .gitattributes) may be long.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 500
"""Lines of a hand-written file."""

LOCKS = re.compile(r"(^|/)([\w.-]*requirements[\w.-]*\.(txt|in)|[\w.-]*\.lock|[\w.-]*-lock\.\w+)$")
FORBIDDEN_NAMES = re.compile(
    r"(^|/)(\.npmrc|\.yarnrc(\.yml)?|pip\.conf|\.pypirc|(uv|Cargo)\.lock)$"
)
ADDRESS = re.compile(r"\w://|git\+|@[\w.-]+:")
RESOLVED = re.compile(r"\"resolved\"\s*:")
INDEX_SETTING = re.compile(
    r"""^\s*(
        (-i|-f|--(extra-)?index-url|--find-links|--trusted-host|--index|--default-index)[\s=]
        | (extra[-_])?index[-_]url\s*[=:]
        | (@[\w-]+:)?registry\s*=\s*\w+:
        | \[\[(tool\.uv\.)?index\]\]
        | \[\[tool\.poetry\.source\]\]
        | (export\s+)?(PIP|UV)_[A-Z_]*(INDEX|LINKS)[A-Z_]*\s*[:?]?=
        | (export\s+)?npm_config_registry\s*[:?]?=
        | (export\s+)?GOPROXY\s*[:?]?=
    )""",
    re.VERBOSE | re.IGNORECASE,
)
HOME = re.compile(r"(?<![\w.}*])/(home|Users)/[A-Za-z_][\w.-]*|(?<![\w.}*])/root[/]")
SOURCE = {".py", ".pyi", ".ts", ".tsx", ".js", ".mjs", ".css", ".html", ".proto", ".sh", ".sql"}
SOURCE |= {".go", ".rs", ".java", ".cpp", ".cc", ".h", ".md", ".yaml", ".yml", ".toml", ".mk", ""}


def faults(root: Path) -> Iterator[str]:
    """Every fault in the tracked files below `root`, in the order of their paths."""
    generated = linguist_generated(root)
    for name in tracked(root):
        if FORBIDDEN_NAMES.search(name):
            yield f"{name}:1: says where packages come from; remove it from git and ignore it"
            continue
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        raw = path.read_bytes()
        if b"\0" in raw:
            continue
        lines = raw.decode("utf-8", "replace").splitlines()
        for number, line in enumerate(lines, 1):
            for fault in line_faults(line, locked=bool(LOCKS.search(name))):
                yield f"{name}:{number}: {fault}"
        handwritten = name not in generated and path.suffix in SOURCE and path.name != "LICENSE"
        if handwritten and len(lines) > LONGEST:
            yield f"{name}:{LONGEST + 1}: {len(lines)} lines; split it, {LONGEST} are the most"
    yield from namesakes(tracked(root))


def namesakes(names: list[str]) -> Iterator[str]:
    """Tests in different folders with one file name: pytest collects only one of them."""
    seen: dict[str, str] = {}
    for name in names:
        file = Path(name).name
        if file.startswith("test_") and file.endswith(".py"):
            first = seen.setdefault(file, name)
            if first != name:
                yield f"{name}:1: is called as {first} is; pytest collects only one of them"


def line_faults(line: str, *, locked: bool) -> Iterator[str]:
    """The faults of one line; `locked` when it stands in a requirements or lock file."""
    if locked and ADDRESS.search(line):
        yield "an address in a requirements or lock file; run `make lock`"
    if RESOLVED.search(line):
        yield "npm's resolved field; run `make lock`"
    if INDEX_SETTING.search(line):
        yield "an index setting; it belongs to the machine, not to the project"
    if HOME.search(line):
        yield "somebody's home path; write a relative path or ask the environment"


def tracked(root: Path) -> list[str]:
    """The paths git tracks below `root`, sorted."""
    return sorted(filter(None, git(root, "ls-files", "-z").split("\0")))


def linguist_generated(root: Path) -> set[str]:
    """The tracked paths that .gitattributes marks as generated."""
    names = "\0".join(tracked(root))
    fields = git(root, "check-attr", "-z", "--stdin", "linguist-generated", text=names).split("\0")
    return {fields[i] for i in range(0, len(fields) - 2, 3) if fields[i + 2] in {"set", "true"}}


def git(root: Path, *words: str, text: str = "") -> str:
    """What git answers in `root`; its own words when it fails."""
    command = ["git", "-C", str(root), *words]
    answer = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603 - constant commands
    if answer.returncode != 0:
        sys.exit(f"git {words[0]} failed in {root}: {answer.stderr.strip()}")
    return answer.stdout


def main(arguments: list[str]) -> int:
    """Print the faults; answer the exit status."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent.parent
    found = list(faults(root))
    for fault in found:
        print(fault)
    print(f"hygiene: {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
