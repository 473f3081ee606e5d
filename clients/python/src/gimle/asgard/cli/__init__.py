"""The command `asgard`: `python -m gimle.asgard.cli` is the same."""

from __future__ import annotations

import sys

from gimle.asgard.cli.interrupting import INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with 0, 1 (failed), 2 (usage) or 130 (Ctrl-C)."""
    try:
        _run()
    except KeyboardInterrupt:  # while it was being imported; a command says so itself
        sys.stderr.write("asgard: stopped\n")
        sys.exit(INTERRUPTED)
    finally:
        # When Ctrl-C cuts an exec() of text, which makes dataclasses and named tuples while they
        # are imported, CPython notes it as not handled and ends by the signal, whatever status
        # is asked for. The next exec() of text takes the note back.
        exec("")  # noqa: S102  # of nothing


def _run() -> None:
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
