"""`asgard sim-data`: a simulation's artifacts from the pod that made them to the store."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from gimle.asgard.cli.moving import moved
from gimle.asgard.cli.speaking import FAILED, console, error_console, plain_errors
from gimle.asgard.core.errors import InvalidFieldError

if TYPE_CHECKING:
    from simswarm.uploading import Uploaded

NOTHING_PRODUCED = 3

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Move what a simulation of SimSwarm leaves behind.",
)


@app.callback()
def _several() -> None:
    """Keep `upload` a command of its own: Typer would drop the name of a single one."""


def upload(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Where the simulation has written its files.",
        ),
    ],
    grants: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help='Upload URLs as JSON: `{"posts.json": URL, ...}`, the same below '
            "`upload_urls`, or the answer of ClaimJob. `-` is stdin.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")] = False,
) -> None:
    """Upload the files of a finished simulation, each by its presigned URL.

    A file that is not in DIR was not produced, and is passed over. Each is sent up to three times,
    with two seconds between; a store that is silent for a minute has failed.

    Ends with 0 when every file that was produced has arrived; 1 when one has not; 2 when the
    command, DIR or FILE was not understood; 3 when no file was produced; 130 when it was stopped.

    Examples:

    ```
    asgard sim-data upload ./out --grants urls.json
    curl -s "$JOB" | asgard sim-data upload ./out --grants - --json
    ```
    """
    from simswarm.grants import upload_urls
    from simswarm.uploading import upload_artifacts

    try:
        urls = upload_urls(_read(grants))
        done = moved(
            "Uploading",
            lambda listener, stop: upload_artifacts(folder, urls, progress=listener, stop=stop),
        )
    except InvalidFieldError as error:
        raise typer.BadParameter(f"{error.problem}; {error.mend}", param_hint="--grants") from None
    if as_json:
        _say_json(done)
    else:
        _say(done)
    for file in done.files:
        if file.error:
            times = f" (tried {file.attempts} times)" if file.attempts > 1 else ""
            error_console().print(f"asgard: {file.name}: {file.error}{times}", markup=False)
    if not done.produced:
        error_console().print(
            f"asgard: {folder} has none of the {len(urls)} files\n"
            "  name the folder that the simulation has written to",
            markup=False,
        )
        raise typer.Exit(NOTHING_PRODUCED)
    if not done:
        raise typer.Exit(FAILED)


def _read(grants: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if grants == "-" else Path(grants).read_bytes()
    except OSError as error:
        raise InvalidFieldError(
            "grants", f"{grants} cannot be read: {error.strerror}", "name a file, or - for stdin"
        ) from None


def _say(done: Uploaded) -> None:
    from rich.filesize import decimal

    sent = [file for file in done.files if file.outcome == "uploaded"]
    for file in sent:
        console().print(f"{file.name}  {decimal(file.size_bytes)}", markup=False)
    absent = sum(file.outcome == "skipped" for file in done.files)
    console().print(
        f"{len(sent)} file(s) sent, {decimal(sum(file.size_bytes for file in sent))}; "
        f"{absent} were not produced",
        markup=False,
    )


def _say_json(done: Uploaded) -> None:
    rows = [asdict(file) for file in done.files]
    answer = {"sim_data_uploaded": bool(done), "files": rows}
    console().print_json(json.dumps(answer))


app.command("upload")(plain_errors(upload))
