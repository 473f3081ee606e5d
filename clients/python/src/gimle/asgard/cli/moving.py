"""Bytes on their way, as the command line shows them, and what Ctrl-C does to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import typer
from gimle.asgard.cli.interrupting import INTERRUPTED, Interruptions
from gimle.asgard.cli.speaking import error_console

if TYPE_CHECKING:
    from gimle.asgard.transfer.progress import Listener, Progress

Done = TypeVar("Done")


def moved(what: str, move: Callable[[Listener, threading.Event], Done]) -> Done:
    """Move bytes with a bar; Ctrl-C ends it between two chunks, with status 130.

    Before a byte has moved it ends whatever goes on, such as asking a service that is away.
    """
    from gimle.asgard.transfer import TransferStoppedError

    begun = threading.Event()
    with (
        suppress(TransferStoppedError, KeyboardInterrupt),
        Interruptions(gently=begun.is_set) as interruptions,
        _shown(what) as listener,
    ):

        def heard(now: Progress) -> None:
            begun.set()
            listener(now)

        return move(heard, interruptions.stop)
    error_console().print("asgard: stopped; the same command goes on from here", markup=False)
    raise typer.Exit(INTERRUPTED)


@contextmanager
def _shown(what: str) -> Iterator[Listener]:
    """A bar on stderr while bytes move, when that is a terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[files]}"),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    shown = error_console()
    with Bar(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=None, files="")
        yield lambda now: bar.update(
            task,
            total=now.bytes,
            completed=now.bytes_done,
            files=f"{now.files_done:,} of {now.files:,} files" if now.files > 1 else "",
        )
