"""`asgard models`: model weights between a cache on disk and the object store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from gimle.asgard.cli.speaking import FAILED, console, error_console, fail, plain_errors
from gimle.asgard.core.errors import AsgardError, InvalidFieldError, NotFoundError

if TYPE_CHECKING:
    from gimle.asgard.models import Pulled
    from gimle.asgard.transfer import Bucket
    from gimle.asgard.transfer.progress import Listener

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep model weights in an object store, and load them from there.\n\n"
    "The store is that of MINIO_ENDPOINT, MINIO_ACCESS_KEY, MINIO_SECRET_KEY, MINIO_BUCKET and "
    "MINIO_SECURE (or ASGARD_S3_*).",
)

HUB_CACHE = "hub-cache"
_BETWEEN_S = 1.0

BucketName = Annotated[
    str | None, typer.Option("--bucket", help="The bucket, if not MINIO_BUCKET (simswarm).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
To = Annotated[
    Path | None,
    typer.Option("--to", help="HF_HOME or HF_HUB_CACHE of who will load it; else $HF_HOME."),
]
Model = Annotated[
    str | None, typer.Argument(metavar="[ORG/NAME]", help="One model; all of the store without.")
]


def _bucket(name: str | None) -> Bucket:
    from gimle.asgard.core.signing import StoreSettings
    from gimle.asgard.transfer import Bucket

    settings = StoreSettings.from_environment(bucket=name)
    if settings is None:
        raise StoreOffError("no object store is set: MINIO_ENDPOINT (or ASGARD_S3_ENDPOINT)")
    return Bucket.of(settings)


class StoreOffError(AsgardError):
    """No store is configured."""


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
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    shown = error_console()
    with Bar(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda now: bar.update(task, total=now.bytes, completed=now.bytes_done)


def push_models(
    path: Annotated[
        str,
        typer.Argument(
            help=f"A model's folder, a cache of models, or `{HUB_CACHE}`: the usual one."
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="ORG/NAME, for a folder that does not say it.")
    ] = None,
    bucket: BucketName = None,
) -> None:
    """Put models into the store; what it has already is not sent again.

    Examples:

    ```
    asgard models push hub-cache
    asgard models push ~/.cache/huggingface/hub/models--Qwen--Qwen3-14B
    asgard models push ./my-finetune --name acme/my-finetune
    ```
    """
    from gimle.asgard.models import push
    from gimle.asgard.models.layout import check_id, default_cache
    from rich.filesize import decimal

    folder = default_cache() if path == HUB_CACHE else Path(path).expanduser()
    id = check_id(name) if name else None
    with _shown("pushing") as listener:
        done = push(folder, _bucket(bucket), id=id, progress=listener)
    for model in done.models:
        console().print(model, markup=False)
    console().print(
        f"{done.files} file(s) sent, {decimal(done.progress.bytes_moved)}; "
        f"{done.skipped} were there already",
        markup=False,
    )


def pull_models(
    model: Model = None,
    to: To = None,
    bucket: BucketName = None,
    fallback: Annotated[
        bool,
        typer.Option(help="Ask Hugging Face for the model when the store fails or lacks it."),
    ] = True,
) -> None:
    """Fetch a model, or all of the store, into a cache that huggingface_hub and vLLM load offline.

    Snapshots that are there already are not fetched again. When the store is not set, fails or
    lacks the model, the reason is printed; a model that was fetched whole before will do, and
    else Hugging Face is asked instead.

    Ends with 0 when the model is there, from wherever it came; 1 when it is not; 2 when the
    command was not understood.

    Examples:

    ```
    asgard models pull Qwen/Qwen3-14B
    asgard models pull --to /models/huggingface
    asgard models pull Qwen/Qwen3-14B --no-fallback
    ```
    """
    from gimle.asgard.models.fallback import fetch_from_hub, reason
    from gimle.asgard.models.layout import check_id, default_home
    from gimle.asgard.models.seeds import whole
    from gimle.asgard.transfer import TransferError
    from rich.filesize import decimal

    home = to or default_home()
    if model is not None:
        check_id(model)
    try:
        pulled = _in_turn(_bucket(bucket), home, model)
    except (StoreOffError, TransferError, NotFoundError, InvalidFieldError) as error:
        if model is None:
            fail(reason(error))
        there = whole(home, model)
        if there is None and not fallback:
            fail(reason(error))
        next = "using what is there" if there else f"asking Hugging Face for {model}"
        error_console().print(f"asgard: {reason(error)}\n  {next}", markup=False)
        console().print(str(there or fetch_from_hub(home, model)), markup=False)
        return
    if not pulled:
        fail("the store has no model", "put one there: asgard models push PATH")
    for one in pulled:
        note = "  (there already)" if one.skipped == one.files else ""
        console().print(f"{one.folder}  {decimal(one.size)}{note}", markup=False)


def _in_turn(bucket: Bucket, home: Path, model: str | None) -> list[Pulled]:
    """Pull, when nobody else does so into the same folder any more: then most of it is there."""
    from gimle.asgard.models import pull
    from gimle.asgard.transfer import BusyError

    told = False
    while True:
        try:
            with _shown("pulling") as listener:
                return pull(bucket, home, model, progress=listener)
        except BusyError:
            if not told:
                said = f"asgard: another process pulls into {home}; waiting for it"
                error_console().print(said, markup=False)
            told = True
        time.sleep(_BETWEEN_S)


def list_models(bucket: BucketName = None, as_json: AsJson = False) -> None:
    """List the models of the store and their snapshots.

    Examples:

    ```
    asgard models ls
    asgard models ls --json | jq -r '.[].id'
    ```
    """
    from gimle.asgard.models import stored_models
    from rich.filesize import decimal

    models = stored_models(_bucket(bucket))
    if as_json:
        rows = [
            {
                "id": model.id,
                "snapshots": [
                    {"hash": one.hash, "files": len(one.files), "size_bytes": one.size}
                    for one in model.snapshots.values()
                ],
                "refs": sorted(model.refs),
            }
            for model in models.values()
        ]
        console().print_json(json.dumps(rows))
        return
    if not models:
        console().print("No models in the store.", markup=False)
    for model in models.values():
        for one in model.snapshots.values():
            console().print(
                f"{model.id}  {one.hash}  {len(one.files)} file(s)  {decimal(one.size)}",
                markup=False,
            )


def verify_models(
    model: Model = None, to: To = None, bucket: BucketName = None, as_json: AsJson = False
) -> None:
    """Read every byte of a cache and compare it with what the store has.

    Ends with status 1 when a file is missing or different.

    Examples:

    ```
    asgard models verify
    asgard models verify Qwen/Qwen3-14B --to /models/huggingface
    ```
    """
    from gimle.asgard.models import verify
    from gimle.asgard.models.layout import check_id, default_home
    from gimle.asgard.models.pulling import prepared
    from rich.filesize import decimal

    if model is not None:
        check_id(model)
    with error_console().status("Reading"):
        checked = list(verify(_bucket(bucket), prepared(to or default_home()), model))
    wrong = [one for one in checked if one.problem]
    if as_json:
        rows = [{"model": one.id, "path": one.path, "problem": one.problem} for one in wrong]
        console().print_json(json.dumps({"files": len(checked), "wrong": rows}))
    else:
        for one in wrong:
            console().print(f"{one.id}  {one.path} {one.problem}", markup=False)
        size = decimal(sum(one.size for one in checked))
        said = f"{len(wrong)} are wrong; pull again" if wrong else "all are right"
        console().print(f"{len(checked)} file(s), {size}: {said}", markup=False)
    if wrong:
        raise typer.Exit(FAILED)


app.command("push")(plain_errors(push_models))
app.command("pull")(plain_errors(pull_models))
app.command("ls")(plain_errors(list_models))
app.command("verify")(plain_errors(verify_models))
