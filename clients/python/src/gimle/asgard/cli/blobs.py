"""`asgard blob`: bytes of any size between files and the store behind a BlobService."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from gimle.asgard.cli.moving import moved
from gimle.asgard.cli.speaking import (
    FAILED,
    console,
    fail,
    plain_errors,
    waiting,
)
from gimle.asgard.core.errors import AlreadyExistsError

if TYPE_CHECKING:
    from gimle.asgard.client.blobs import Blob, Blobs

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep bytes of any size beside runs: checkpoints, archives, films.",
)

SERVER = "grpc://localhost:50051"

Server = Annotated[
    str,
    typer.Option(
        help="Where BlobService is: `asgard monitor` at 50051, `asgard serve blob` at "
        "grpc://HOST:50053; grpcs:// over TLS."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]


def put(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="What the blob is called, or what names below the folder begin with. With "
            "several paths, or a slash at its end, their own names are put below it."
        ),
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Upload files, and folders with all below them.

    What is there already is not sent again: after a break, the same command goes on. A name is
    taken for good until it is removed; other bytes under it are refused.

    Examples:

    ```
    asgard blob put checkpoint.pt --name run-7/checkpoint.pt
    asgard blob put ./results
    asgard blob put *.mp4 --name films/ --server grpc://asgard.example.org:50053
    ```
    """
    from rich.filesize import decimal

    with _open(server) as blobs:
        try:
            done = moved(
                "Uploading",
                lambda listener, stop: blobs.upload(paths, name, progress=listener, stop=stop),
            )
        except AlreadyExistsError as error:
            _taken(error, "give another --name")
    if as_json:
        _say_json(
            {
                "bytes": done.bytes,
                "bytes_sent": done.bytes_moved,
                "blobs": [_row(one) for one in done.blobs],
            }
        )
        return
    first = done.blobs[0].name
    console().print(
        f"{first if len(done.blobs) == 1 else f'{len(done.blobs):,} blobs'}: "
        f"{decimal(done.bytes)}, {decimal(done.bytes_moved)} sent",
        markup=False,
    )


def get(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A blob, or what the names of several lie below.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to put it into.")] = Path(),
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Download a blob, or all whose names lie below NAME, into a folder.

    A file appears whole and with the SHA-256 that was declared for it, or not at all. What is
    there already is not fetched again: after a break, the same command goes on.

    Examples:

    ```
    asgard blob get run-7/checkpoint.pt
    asgard blob get run-7 --to ./from-the-cluster
    ```
    """
    from rich.filesize import decimal

    with _open(server) as blobs:
        done = moved(
            "Downloading",
            lambda listener, stop: blobs.download(name, to, progress=listener, stop=stop),
        )
    if as_json:
        files = [
            {"path": str(path), **_row(blob)}
            for path, blob in zip(done.paths, done.blobs, strict=True)
        ]
        _say_json({"bytes": done.bytes, "bytes_fetched": done.bytes_moved, "files": files})
        return
    console().print(
        f"{done.paths[0] if len(done.paths) == 1 else f'{len(done.paths):,} files'}: "
        f"{decimal(done.bytes)}, {decimal(done.bytes_moved)} fetched",
        markup=False,
    )


def list_blobs(
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only names that begin so.")
    ] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List blobs by name.

    Examples:

    ```
    asgard blob ls
    asgard blob ls run-7/ --json | jq -r '.[].sha256'
    ```
    """
    from rich.filesize import decimal

    with _open(server) as blobs:
        if as_json:
            _say_json([_row(blob) for blob in blobs.list(prefix)])
            return
        out = console()
        empty = True
        for blob in blobs.list(prefix):
            empty = False
            size = "-" if blob.size_bytes is None else decimal(blob.size_bytes)
            note = "" if blob.state == "ready" else f"  ({blob.state})"
            out.print(f"{size:>10}  {_local(blob.created_at)}  {blob.name}{note}", markup=False)
    if empty:
        console().print("No blobs" + (f" below {prefix}." if prefix else "."), markup=False)


def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A blob.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="What the copy is called.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Copy a blob to another name. Its bytes stay in the store.

    Examples:

    ```
    asgard blob cp run-7/checkpoint.pt run-7/best.pt
    ```
    """
    from rich.filesize import decimal

    with _open(server) as blobs, waiting(f"Copying {name}"):
        try:
            blob = blobs.copy(name, to)
        except AlreadyExistsError as error:
            _taken(error, "give another name")
    if as_json:
        _say_json(_row(blob))
    else:
        console().print(f"{blob.name}: {decimal(blob.size_bytes or 0)}", markup=False)


def remove(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A blob.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="All blobs whose names begin so, such as run-7/.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask about a prefix.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Delete a blob with its bytes, or all of a prefix. There is no way back.

    What somebody has claimed stays; then the command ends with status 1.

    Examples:

    ```
    asgard blob rm run-7/checkpoint.pt
    asgard blob rm --prefix run-7/ --yes
    ```
    """
    from rich.filesize import decimal

    if (name is None) == (prefix is None):
        fail("give a NAME or a --prefix", "see `asgard blob rm --help`")
    with _open(server) as blobs:
        if name is not None:
            blobs.delete(name)
            if as_json:
                _say_json({"deleted": 1, "claimed": 0})
            else:
                console().print(f"Deleted {name}", markup=False)
            return
        if not yes and not typer.confirm(f"Delete all blobs below {prefix!r} for ever?", err=True):
            fail("nothing was deleted")
        done = blobs.delete_all(prefix or "")
    if as_json:
        _say_json({"deleted": done.count, "deleted_bytes": done.bytes, "claimed": done.claimed})
    else:
        left = f"; {done.claimed:,} are claimed and stay" if done.claimed else ""
        console().print(f"Deleted {done.count:,} blob(s), {decimal(done.bytes)}{left}")
    if done.claimed:
        raise typer.Exit(FAILED)


def stat(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A blob.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a blob.

    Examples:

    ```
    asgard blob stat run-7/checkpoint.pt
    asgard blob stat run-7/checkpoint.pt --json | jq -r .sha256
    ```
    """
    with _open(server) as blobs:
        row = _row(blobs.stat(name))
    if as_json:
        _say_json(row)
        return
    for field, value in row.items():
        if value not in (None, []):
            text = ", ".join(value) if isinstance(value, list) else str(value)
            console().print(f"{field:<16} {text}", markup=False)


app.command("put")(plain_errors(put))
app.command("get")(plain_errors(get))
app.command("ls")(plain_errors(list_blobs))
app.command("cp")(plain_errors(copy))
app.command("rm")(plain_errors(remove))
app.command("stat")(plain_errors(stat))


def _open(server: str) -> Blobs:
    from gimle.asgard.client.blobs import Blobs

    return Blobs(server)


def _taken(error: AlreadyExistsError, mend: str) -> NoReturn:
    fail(f"{error}, of other bytes", f"{mend}, or remove it: asgard blob rm {error.id}")


def _row(blob: Blob) -> dict[str, Any]:
    """A blob as REST shows it."""
    return {
        "id": blob.id,
        "name": blob.name,
        "state": blob.state,
        "size_bytes": blob.size_bytes,
        "content_type": blob.content_type,
        "sha256": blob.sha256,
        "sha256_verified": blob.sha256_verified,
        "sha256_parts": blob.sha256_parts,
        "part_size_bytes": blob.part_size_bytes,
        "created_at": _utc(blob.created_at),
        "ready_at": None if blob.ready_at is None else _utc(blob.ready_at),
        "owners": list(blob.owners),
    }


def _say_json(value: Any) -> None:
    console().print_json(json.dumps(value))


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
