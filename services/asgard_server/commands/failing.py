"""How a command says what is wrong."""

from __future__ import annotations

from typing import NoReturn

import typer


def fail(problem: str, mend: str = "") -> NoReturn:
    """Say what is wrong, and its mend, on standard error; end with status 1."""
    typer.echo(f"asgard: {problem}" + (f"\n  {mend}" if mend else ""), err=True)
    raise typer.Exit(1)
