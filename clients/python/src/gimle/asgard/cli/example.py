"""`asgard example`: compute examples, save them, and show them while they are computed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.interrupting import INTERRUPTED, Interruptions
from gimle.asgard.cli.monitoring import MonitorProcess
from gimle.asgard.cli.speaking import FAILED, console, error_console, fail
from gimle.asgard.core.errors import AsgardError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from gimle.asgard.monitor.storage import AsgardStorage, Run

WATCHING_PACE = 0.08
"""Seconds between saved batches while a monitor is watched, unless --pace says otherwise."""


def example(
    path: Annotated[
        str | None,
        typer.Argument(
            help="A YAML file of yours, or a packaged example such as basic/01_integration.yaml.",
            show_default=False,
        ),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            "--category",
            "-c",
            help="Run one category: basic, advanced, discrete, stochastic, optimization, "
            "engineering.",
            show_default=False,
        ),
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", "-l", help="List the examples.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Run every example.")] = False,
    monitor: Annotated[
        bool,
        typer.Option("--monitor", "-m", help="Show the results in the browser; Ctrl-C ends it."),
    ] = False,
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            "-s",
            envvar="ASGARD_STORAGE",
            help="Where to save: a folder, s3://bucket/prefix or grpc://host:port.",
        ),
    ] = "storage",
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", help="The port of the monitor's page. [default: 8000]"),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=10.0,
            help="Seconds to rest after each saved batch, to watch it grow. "
            "[default: 0, with --monitor 0.08]",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="With --monitor: do not open a browser.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")] = False,
) -> None:
    """Compute an example, a category or all of them, and save what comes out.

    The results are always saved, in ./storage unless told otherwise.

    Examples:

    ```
    asgard example --list
    asgard example basic/01_integration.yaml
    asgard example -c stochastic --monitor
    asgard example my-own.yaml --storage ./my-results
    asgard example --all --monitor --port 8080
    ```
    """
    chosen = sum([path is not None, category is not None and not list_them, everything])
    if list_them:
        _list(category, as_json)
        return
    if chosen != 1:
        raise typer.BadParameter(
            "name one example, or a category with -c, or --all; --list shows what there is"
        )
    # Loading numpy and the grammars takes a moment, which --help and --list need not.
    from gimle.asgard.examples.catalogue import catalogue, find

    paths = [find(path)] if path is not None else catalogue(category)
    with Interruptions() as interruptions:
        _run(paths, storage, monitor, port, pace, no_browser, as_json, interruptions)


def _run(
    paths: list[Path],
    storage: str,
    monitor: bool,
    port: int | None,
    pace: float | None,
    no_browser: bool,
    as_json: bool,
    interruptions: Interruptions,
) -> None:
    # Every example is checked before the first is run.
    from gimle.asgard.examples.document import load
    from gimle.asgard.monitor.storage import AsgardStorage

    for path in paths:
        load(path)
    if monitor and _is_served(storage):
        fail(
            f"--monitor shows a folder or s3://bucket/prefix, not {storage}",
            "leave it out: the service at that address has a page of its own",
        )
    place = AsgardStorage(storage)
    if pace is None:
        pace = WATCHING_PACE if monitor else 0.0
    shown: MonitorProcess | None = None
    if monitor:
        shown = MonitorProcess.start(storage, port, not no_browser, interruptions)
    try:
        rows = _compute(paths, place, pace, interruptions.stop, quiet=as_json)
        failed = sum(row["status"] == "failed" for row in rows)
        if as_json:
            console().print_json(json.dumps(rows))
        if interruptions.stop.is_set():
            error_console().print("asgard: stopped; the run that was under way is marked failed")
            raise typer.Exit(INTERRUPTED)
        out = error_console() if as_json else console()
        out.print(
            f"Saved {len(rows) - failed} run(s) in {_in_full(storage)}"
            + (f"; {failed} failed" if failed else ""),
            markup=False,
        )
        if shown is not None:
            shown.keep_up(out, interruptions)
        elif not as_json and failed < len(rows) and not _is_served(storage):
            out.print(f"Look at them with: asgard monitor --storage {storage}", markup=False)
    finally:
        if shown is not None:
            shown.stop()
    if failed:
        raise typer.Exit(FAILED)


def _is_served(storage: str) -> bool:
    """Whether a service keeps the storage, which has a page of its own."""
    return storage.startswith(("grpc://", "grpcs://"))


def _in_full(storage: str) -> str:
    """The storage by its whole path, or its address."""
    return storage if "://" in storage else str(Path(storage).resolve())


def _compute(
    paths: list[Path], place: AsgardStorage, pace: float, stop: threading.Event, *, quiet: bool
) -> list[dict[str, Any]]:
    from gimle.asgard.examples.catalogue import name_of
    from gimle.asgard.examples.document import load
    from gimle.asgard.examples.running import StoppedError, run_example

    rows: list[dict[str, Any]] = []
    width = max(len(name_of(path)) for path in paths)
    for path in paths:
        if stop.is_set():
            break
        row: dict[str, Any] = {"example": name_of(path), "status": "succeeded"}
        rows.append(row)
        try:
            with _bar(f"{name_of(path):<{width}}", quiet) as progress:
                outcome = run_example(
                    load(path),
                    place,
                    pace=pace,
                    stop=stop,
                    progress=progress,
                    begun=partial(_note_run, row),
                )
        except StoppedError:
            row["status"] = "failed"
            break
        except AsgardError as error:
            # One example that fails does not keep the others from running.
            row |= {"status": "failed", "problem": str(error)}
            error_console().print(f"{row['example']}: failed: {error}", markup=False)
            continue
        row |= {
            "results": outcome.results,
            "seconds": round(outcome.seconds, 3),
            "largest_error": outcome.largest_error,
        }
        if not quiet:
            _say(row, width)
    return rows


def _note_run(row: dict[str, Any], run: Run) -> None:
    row["run_id"] = run.id


def _say(row: dict[str, Any], width: int) -> None:
    error = row["largest_error"]
    told = "" if error is None else f"  computed - expected at most {error:.1e}"
    results = f"{row['results']} result" + ("s" if row["results"] > 1 else " ")
    console().print(
        f"{row['example']:<{width}}  {results}  {row['seconds']:6.2f} s{told}", markup=False
    )


@contextmanager
def _bar(label: str, quiet: bool) -> Iterator[Any]:
    """A progress bar on a terminal; what it yields takes (done, of)."""
    out = error_console()
    if quiet or not out.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _list(category: str | None, as_json: bool) -> None:
    from gimle.asgard.examples.catalogue import catalogue, name_of
    from gimle.asgard.examples.document import title_of

    rows = []
    for path in catalogue(category):
        name, summary = title_of(path)
        rows.append({"example": name_of(path), "name": name, "summary": summary})
    if as_json:
        console().print_json(json.dumps(rows))
        return
    if not rows:
        fail("no examples are installed", "reinstall gimle-asgard")
    out = console()
    width = max(len(row["example"]) for row in rows)
    last = ""
    for row in rows:
        folder = row["example"].split("/")[0]
        if folder != last:
            out.print(f"\n[bold]{folder}[/bold]" if last else f"[bold]{folder}[/bold]")
            last = folder
        out.print(f"  {row['example']:<{width}}  {row['name']}", markup=False)
    out.print("\nRun one: asgard example basic/01_integration.yaml --monitor", markup=False)
