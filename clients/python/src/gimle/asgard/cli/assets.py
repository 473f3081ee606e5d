"""`asgard assets`: durable outputs, from creation to deletion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from gimle.asgard.cli import asset_access, asset_review
from gimle.asgard.cli.chronicling import (
    AsJson,
    AssetId,
    Server,
    chronicle,
    say_assets,
    say_json,
    say_table,
)
from gimle.asgard.cli.moving import moved
from gimle.asgard.cli.speaking import console, fail, plain_errors

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep what runs produce: checkpoints, reports, datasets; who may touch them, and whether "
    "they may be relied on.",
)


def list_assets(
    owner: Annotated[
        str | None, typer.Option(help="Those of @alice, t/ml-team, o/acme, or an id.")
    ] = None,
    asset_type: Annotated[str | None, typer.Option("--type", help="Of one type.")] = None,
    state: Annotated[str | None, typer.Option(help="pending, ready or abandoned.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")
    ] = 20,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List assets that you may read, newest first.

    Examples:

    ```
    asgard assets list
    asgard assets list --type checkpoint --state ready --limit 5
    asgard assets list --owner o/acme --json | jq -r '.[].id'
    ```
    """
    from itertools import islice

    with chronicle(server) as client:
        every = client.assets.iter(
            owner, asset_type=asset_type, state=state, page_size=min(limit or 1_000, 1_000)
        )
        found = list(islice(every, limit or None))
    if as_json:
        say_json(found)
        return
    say_assets(found)


def show(asset_id: AssetId, server: Server = None, as_json: AsJson = False) -> None:
    """Show what is known of an asset.

    Examples:

    ```
    asgard assets show 01a22801-526b-79a9-8378-bce9852ea8c9
    asgard assets show 01a22801-526b-79a9-8378-bce9852ea8c9 --json | jq .components
    ```
    """
    from rich.filesize import decimal

    with chronicle(server) as client:
        found = client.assets.get(asset_id)
    if as_json:
        say_json(found)
        return
    say = console()
    for name in ("id", "asset_type", "name", "state", "visibility", "created_at", "created_by"):
        if found.get(name):
            say.print(f"{name:12} {found[name]}", markup=False)
    for flag in ("deprecated", "invalidated"):
        if found.get(flag):
            say.print(f"{flag:12} {found[flag].reason}", markup=False)
    for each in found.components:
        size = "not there yet" if each.get("size_bytes") is None else decimal(each.size_bytes)
        say.print(f"{'component':12} {each.name}  {size}", markup=False)


def create(
    asset_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="checkpoint, dataset, research_report, ...")
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a folder.")],
    name: Annotated[str | None, typer.Option(help="Assets of one name are versions.")] = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Send a small text or JSON file with the call.")
    ] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Somebody has to approve it first.")
    ] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make an asset of a file, or of a folder with all below it.

    The bytes go straight to the store, and are checked there. From then on nothing changes them.

    Examples:

    ```
    asgard assets create checkpoint ./out --name resnet
    asgard assets create research_report notes.md --inline
    asgard assets create takeaways_report report.md --inline --review
    ```
    """
    reasons = ["review_required"] if review else None
    with chronicle(server) as client:
        if inline:
            content, content_type = _content(path)
            asset = client.assets.create_inline(
                *(asset_type, content, name, content_type), pending_reasons=reasons
            ).asset
        else:
            from methodic import moving

            if not path.exists():
                fail(f"{path} is not there")
            files = moving.sources(path) if path.is_dir() else [moving.source(path, path.name)]
            made = client.assets.create_with_presigned(
                asset_type, name=name, files=files, pending_reasons=reasons
            )
            moved("Uploading", lambda listener, stop: client.send(made, files, listener, stop))
            asset = client.assets.finalize(made.asset_id).asset
    if as_json:
        say_json(asset)
        return
    console().print(f"{asset.id}: {asset.asset_type}, {asset.state}", markup=False)


def _content(path: Path) -> tuple[Any, str]:
    from methodic.moving import guessed

    kind = guessed(path.name)
    try:
        text = path.read_text()
        if kind == "application/json":
            return json.loads(text), kind
    except UnicodeDecodeError:
        fail(f"{path} is no text", "leave --inline out: its bytes are uploaded then")
    except ValueError as error:
        fail(f"{path} is no JSON: {error}")
    return text, kind if kind.startswith("text/") else "text/plain"


def download(
    asset_id: AssetId,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to put it into.")] = Path(),
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Fetch all files of an asset into a folder, checked.

    Again fetches what is not there yet.

    Examples:

    ```
    asgard assets download 01a22801-526b-79a9-8378-bce9852ea8c9 --to ./checkpoint
    ```
    """
    with chronicle(server) as client:
        paths = moved(
            "Downloading",
            lambda listener, stop: client.assets.download(
                asset_id, to, progress=listener, stop=stop
            ),
        )
    if as_json:
        say_json([str(path) for path in paths])
        return
    console().print("\n".join(str(path) for path in paths), markup=False)


def search(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="All of them are in it.")],
    asset_type: Annotated[str | None, typer.Option("--type", help="Of one type.")] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Find assets by the words in their names, texts and metadata, the best first.

    Examples:

    ```
    asgard assets search vortex shedding
    asgard assets search loss --type takeaways_report
    ```
    """
    filters = {"asset_types": [asset_type]} if asset_type else None
    with chronicle(server) as client:
        found = client.search(" ".join(words), filters)
    if as_json:
        say_json(found)
        return
    say_table(
        ("id", "type", "name", "where"),
        (
            (
                each.document_id,
                each.asset.asset_type,
                each.asset.get("name") or "",
                each.get("snippet") or "",
            )
            for each in found.results
        ),
        "Nothing has these words.",
    )


_COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_assets,
    "show": show,
    "create": create,
    "download": download,
    "search": search,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(plain_errors(_command))
asset_review.add_to(app)
asset_access.add_to(app)
