"""Are the Dockerfiles what they promise? And their steps as a shell script, where no Docker is.

    python .ci/checks/dockerfile.py                       the checks
    python .ci/checks/dockerfile.py --script DOCKERFILE   the script, for a throw-away root

The script takes the build context from the variable CONTEXT (a clone: what .dockerignore leaves
out is not tracked) and makes every stage in the one file system it runs in, so images that stages
begin from must be stood in for by what is installed there.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "deploy" / "docker"
_IMAGE = re.compile(r"[a-z0-9][a-z0-9-]*:[\w.-]+")
# As COPY does: of a folder its content. What a stage copies from another is there already.
_COPY = """copy() {
  target=$1; shift
  case $target in */) mkdir -p "$target";; *) mkdir -p "$(dirname "$target")";; esac
  for source; do
    if [ "$source" -ef "$target" ]; then continue; fi
    if [ -d "$source" ]; then mkdir -p "$target"; source=$source/.; fi
    cp -a "$source" "$target"
  done
}"""
_LABELS = ("title", "description", "licenses", "version", "revision")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its word in capitals, and the rest with lines joined."""

    word: str
    rest: str


def steps(text: str) -> list[Step]:
    """The instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        found.append(Step(word.upper(), rest.strip()))
    return found


def faults(path: Path, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a Dockerfile."""
    found = steps(path.read_text())
    stages = {step.rest.split(" AS ")[1] for step in found if " AS " in step.rest}
    for step in found:
        if step.word == "FROM" and not _IMAGE.fullmatch(step.rest.split(" AS ")[0]):
            yield f"FROM {step.rest}: name an image and a version, and no host"
        if step.word in {"ENTRYPOINT", "CMD"} and not step.rest.startswith("["):
            yield f"{step.word} {step.rest}: write it as a list, so that no shell is needed"
        if step.word == "HEALTHCHECK" and not step.rest.partition("CMD ")[2].startswith("["):
            yield f"HEALTHCHECK {step.rest}: write it as a list, so that no shell is needed"
        if step.word == "COPY":
            yield from _copied(step.rest, stages, root)
    final = found[max(i for i, step in enumerate(found) if step.word == "FROM") :]
    users = [step.rest for step in final if step.word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", users[-1]):
        yield "the last USER is not a number above 9999 with its group: Kubernetes cannot tell"
    if path.name == "Dockerfile":
        labels = " ".join(step.rest for step in final if step.word == "LABEL")
        for label in _LABELS:
            if f"org.opencontainers.image.{label}=" not in labels:
                yield f"no label org.opencontainers.image.{label}"
        if not any(step.word == "HEALTHCHECK" for step in final):
            yield "no HEALTHCHECK"


def _copied(rest: str, stages: set[str], root: Path) -> Iterator[str]:
    words = shlex.split(rest)
    if words[0].startswith("--from="):
        if words[0].removeprefix("--from=") not in stages:
            yield f"COPY {rest}: there is no such stage"
        return
    for source in words[:-1]:
        if not _tracked(source, root):
            yield f"COPY {rest}: git knows no {source}"


def _tracked(source: str, root: Path) -> bool:
    command = ["git", "-C", str(root), "ls-files", "--", source]
    return bool(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603 - constant command


def script(text: str) -> str:
    """The Dockerfile as a shell script that ends where the image would be ready."""
    lines = ["set -eux", ': "${CONTEXT:?the folder of a clone}"', "exported=()", _COPY]
    for step in steps(text):
        if step.word == "FROM":
            lines += [f"# FROM {step.rest}", 'unset "${exported[@]}"; exported=(); cd /']
        elif step.word == "ARG":
            lines.append(f"export {step.rest}")
        elif step.word == "ENV":
            for word in shlex.split(step.rest):
                name, _, value = word.partition("=")
                # PATH outlives the stage here: the tools of the next one are found by it.
                lines.append(f"export {name}={shlex.quote(value)}")
                if name != "PATH":
                    lines.append(f"exported+=({name})")
        elif step.word == "WORKDIR":
            lines.append(f"mkdir -p {step.rest}; cd {step.rest}")
        elif step.word == "COPY":
            lines.append(_copy(shlex.split(step.rest)))
        elif step.word == "RUN":
            lines.append(f"sh -c {shlex.quote(step.rest)}")
    return "\n".join(lines) + "\n"


def _copy(words: list[str]) -> str:
    inside = words[0].startswith("--from=")
    *sources, target = words[1:] if inside else words
    places = " ".join(source if inside else f'"$CONTEXT"/{source}' for source in sources)
    return f"copy {target} {places}"


def main(arguments: list[str]) -> int:
    """Print the script, or the faults and the exit status."""
    if arguments[:1] == ["--script"]:
        print(script(Path(arguments[1]).read_text()), end="")
        return 0
    found = [
        f"deploy/docker/{path.name}: {fault}"
        for path in sorted(FOLDER.glob("*Dockerfile"))
        for fault in faults(path)
    ]
    for fault in found:
        print(fault)
    print(f"dockerfiles: {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
