"""How the command line speaks: results on stdout, everything else on stderr, no tracebacks."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from gimle.asgard.cli.interrupting import INTERRUPTED
from gimle.asgard.core.errors import AsgardError
from rich.console import Console
from rich.markup import escape

Command = TypeVar("Command", bound=Callable[..., Any])

FAILED = 1


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `plain_errors`: rich would end the process with status 1."""
        raise BrokenPipeError


def console() -> Console:
    """Where results go."""
    return _Console(soft_wrap=True, highlight=False)


def error_console() -> Console:
    """Where progress and errors go."""
    return _Console(stderr=True, soft_wrap=True, highlight=False)


def waiting(what: str) -> AbstractContextManager[object]:
    """Say what is waited for, on a terminal, as long as it lasts."""
    return error_console().status(escape(what))


def fail(problem: str, mend: str = "") -> NoReturn:
    """Say what is wrong, and its mend, and end with status 1."""
    error_console().print(f"asgard: {problem}" + (f"\n  {mend}" if mend else ""), markup=False)
    raise typer.Exit(FAILED)


def plain_errors(command: Command) -> Command:
    """The command, with its expected errors told in one line instead of a traceback."""

    @functools.wraps(command)
    def speaking(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            error_console().print("asgard: stopped", markup=False)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader (head, less) has seen enough; Python's own complaint at exit is silenced.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except AsgardError as error:
            fail(str(error))
        except OSError as error:
            # Of two names the second is the one that was to be: of a rename, of a link.
            named = error.filename2 or error.filename
            where = f"{named}: " if named else ""
            fail(f"{where}{error.strerror or error}")

    return speaking  # type: ignore[return-value]  # wraps keeps the signature that Typer reads


def existing(storage: str) -> str:
    """The storage that is only read; fails when there is none in that folder."""
    folder = Path(storage)
    known = (folder / "runs").is_dir() or (folder / ".asgard_metadata.json").is_file()
    # Other places than folders are for the storage itself to open or to refuse.
    if not known and "://" not in storage:
        fail(
            f"there is no storage in {storage}",
            "name its folder with --storage, or make one: asgard example basic/01_integration.yaml",
        )
    return storage
