"""`asgard copy`: runs from one home to another."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.interrupting import INTERRUPTED, Interruptions
from gimle.asgard.cli.speaking import FAILED, console, error_console, existing
from gimle.asgard.core.errors import AsgardError

if TYPE_CHECKING:
    from gimle.asgard.client.transfers import Transfer
    from gimle.asgard.monitor.copy import Report


def copy(
    source: Annotated[
        str,
        typer.Argument(metavar="FROM", help="A folder, s3://bucket/prefix or grpc://host:port."),
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="Another one. A folder is made when missing.")
    ],
    run: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="ID", help="Only this run; may be given several times."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="Compare arrays by their SHA-256 on both sides, or documents alone.",
        ),
    ] = True,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs at a time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")] = False,
) -> None:
    """Copy runs with their results and arrays from one home to another.

    What is there already is not sent again: after a break, the same command goes on. Nothing
    is ever replaced: where something else is under the same id, or bytes are damaged, it is
    said, and the command ends with status 1. A result that has grown since gets the rows it lacks.

    Examples:

    ```
    asgard copy ./storage s3://my-bucket/experiments
    asgard copy ./storage grpc://localhost:50051 --run 01a1fc8e-3894-726e-9667-37928f098705
    asgard copy s3://my-bucket/experiments ./backup --json | jq .problems
    ```
    """
    from gimle.asgard.monitor.copy import Copier, check_apart
    from gimle.asgard.monitor.home import Reach, open_home

    check_apart(source, target)
    existing(source)
    shown = _Shown(target)
    with Interruptions() as interruptions:
        copier = Copier(
            open_home(source, "durable"),
            open_home(target, "durable", Reach(progress=shown.moved)),
            verify=verify,
            jobs=jobs,
            stop=interruptions.stop,
        )
        copier.tell(shown.counted)
        try:
            with shown.progress:
                report = copier.copy(run)
        except AsgardError:
            done = copier.report.runs_copied + copier.report.runs_present
            error_console().print(
                f"asgard: {done} run(s) are at {target}; the same command goes on from there",
                markup=False,
            )
            raise
    if as_json:
        console().print_json(json.dumps(_answer(source, target, report)))
    else:
        _say(report, target)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.problems:
        raise typer.Exit(FAILED)


class _Shown:
    """How far a copy has come, on a terminal: runs, and bytes with those on their way."""

    def __init__(self, target: str) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        errors = error_console()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs, {task.fields[sent]} sent, {task.fields[compared]} compared"),
            TimeElapsedColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task = self.progress.add_task(
            f"Copying to {target}", total=None, sent="0 bytes", compared="0 bytes"
        )
        self._counted = (0, 0)
        self._moving: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def counted(self, report: Report) -> None:
        """Show what is done."""
        with self._lock:
            self._counted = (report.bytes_sent, report.bytes_compared)
        self.progress.update(self._task, total=report.runs, completed=report.runs_done)
        self._show()

    def moved(self, transfer: Transfer) -> None:
        """Show what is on its way to a service, or back from it."""
        with self._lock:
            if transfer.done < transfer.total:
                self._moving[transfer.direction, transfer.id] = transfer.done
            else:
                self._moving.pop((transfer.direction, transfer.id), None)
        self._show()

    def _show(self) -> None:
        from rich.filesize import decimal

        with self._lock:
            up, down = self._counted
            for (direction, _), done in self._moving.items():
                up, down = (up + done, down) if direction == "up" else (up, down + done)
        self.progress.update(self._task, sent=decimal(up), compared=decimal(down))


def _answer(source: str, target: str, report: Report) -> dict[str, Any]:
    return {
        "from": source,
        "to": target,
        "runs": {"copied": report.runs_copied, "present": report.runs_present},
        "results": {"copied": report.results_copied, "present": report.results_present},
        "bytes": {"sent": report.bytes_sent, "compared": report.bytes_compared},
        "interrupted": report.interrupted,
        "problems": [asdict(problem) for problem in report.problems],
        "notes": report.notes,
    }


def _say(report: Report, target: str) -> None:
    from rich.filesize import decimal

    out, errors = console(), error_console()
    for problem in report.problems:
        result = f", result {problem.result_id}" if problem.result_id else ""
        errors.print(
            f"{problem.kind:<10} run {problem.run_id}{result}: {problem.problem}", markup=False
        )
    for note in report.notes:
        errors.print(f"note       {note}", markup=False)
    out.print(
        f"{target}: {report.runs_copied} run(s) and {report.results_copied} result(s) copied, "
        f"{decimal(report.bytes_sent)} sent; {report.runs_present} run(s) and "
        f"{report.results_present} result(s) were there; "
        + (f"{len(report.problems)} problem(s)" if report.problems else "all is well"),
        markup=False,
    )
    if report.interrupted:
        errors.print("asgard: stopped; the same command goes on from here", markup=False)
