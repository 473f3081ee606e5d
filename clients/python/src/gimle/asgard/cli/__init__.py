"""The command `asgard`: `python -m gimle.asgard.cli` is the same."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with 0, 1 (failed), 2 (usage) or 130 (Ctrl-C)."""
    try:
        from gimle.asgard.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "yaml", "lark"}:
            raise
        sys.exit(
            f"asgard: the command line needs {error.name}; install it with "
            "`pip install 'gimle-asgard[cli]'`"
        )
    run()
