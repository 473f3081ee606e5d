"""How a command says what is wrong."""

from __future__ import annotations

from typing import NoReturn

import typer

from asgard_server.processes.saying import say_why_not
from asgard_server.processes.starting import StartError
from asgard_server.settings import Settings


def fail(problem: str, mend: str = "", status: int = 1) -> NoReturn:
    """Say what is wrong, and its mend, on standard error; end with this status."""
    typer.echo(f"asgard: {problem}" + (f"\n  {mend}" if mend else ""), err=True)
    raise typer.Exit(status)


def cannot_start(settings: Settings, service: str, error: StartError) -> NoReturn:
    """Say why a service cannot start, where its operators look; end with status 1."""
    say_why_not(settings, service, error)
    raise typer.Exit(1)
