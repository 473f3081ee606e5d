"""buf's three questions: are the protos well made, well formatted, and kept?

    python .ci/checks/protos.py [ROOT]

Lint and the comparison read the committed descriptor set (`asgard.binpb`, which
`.ci/checks/generated.py` proves fresh), because it carries the imported google files that buf
would otherwise fetch. The protos are compared with those of the newest release tag; before there
is one, nothing has been promised yet and the comparison is not run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

DESCRIPTORS = "clients/python/src/gimle/asgard/v1/asgard.binpb"
OURS = ("--config", "protos/buf.yaml", "--path", "gimle/asgard/v1")
HOME = Path(__file__).resolve().parent.parent.parent
BUF = next((HOME / "protos" / "node_modules").glob("@bufbuild/buf-*/bin/buf"), None)


def newest_release(root: Path) -> str | None:
    """The newest tag named v<number>... that HEAD descends from, or None."""
    command = ["git", "-C", str(root), "tag", "--merged", "HEAD", "--sort=-v:refname", "v[0-9]*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - constant command
    return next(iter(answer.stdout.split()), None)


def kept(root: Path) -> bool:
    """Whether every reader of the newest release's protos can read today's."""
    tag = newest_release(root)
    if tag is None:
        print("buf breaking: not run, there is no release tag yet")
        return True
    show = ["git", "-C", str(root), "show", f"{tag}:{DESCRIPTORS}"]
    released = subprocess.run(show, capture_output=True, check=True).stdout  # noqa: S603 - constant command
    with tempfile.NamedTemporaryFile(suffix=".binpb") as file:
        file.write(released)
        file.flush()
        return buf(root, "breaking", DESCRIPTORS, *OURS, "--against", file.name, since=f" {tag}")


def buf(root: Path, *words: str, since: str = "") -> bool:
    """Run buf in `root`; print its words, and one line of our own."""
    good = subprocess.run([str(BUF), *words], cwd=root, check=False).returncode == 0  # noqa: S603 - pinned tool
    print(f"buf {words[0]}{since}: {'good' if good else 'see above'}", flush=True)
    return good


def main(arguments: list[str]) -> int:
    """Ask all three, whatever the first says; answer the exit status."""
    root = Path(arguments[0]) if arguments else HOME
    if BUF is None:
        sys.exit("buf is missing; run `make check`, which brings it")
    answers = [
        buf(root, "lint", DESCRIPTORS, *OURS),
        buf(root, "format", "--diff", "--exit-code", "protos"),
        kept(root),
    ]
    return 0 if all(answers) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
