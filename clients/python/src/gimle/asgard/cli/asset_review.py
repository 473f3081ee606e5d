"""`asgard assets queue|approve|reject|deprecate|invalidate|reinstate|delete`."""

from __future__ import annotations

from typing import Annotated

import typer
from gimle.asgard.cli.chronicling import (
    AsJson,
    AssetId,
    Server,
    chronicle,
    say_assets,
    say_json,
)
from gimle.asgard.cli.speaking import console, plain_errors

Reason = Annotated[str, typer.Option(help="Why: it is shown wherever the asset is linked.")]


def queue(server: Server = None, as_json: AsJson = False) -> None:
    """List what awaits review and you may approve, the oldest first.

    Examples:

    ```
    asgard assets queue
    asgard assets approve $(asgard assets queue --json | jq -r '.[].id')
    ```
    """
    with chronicle(server) as client:
        found = client.assets.review_queue()
    if as_json:
        say_json(found)
        return
    say_assets(found)


def approve(
    asset_ids: Annotated[list[str], typer.Argument(metavar="ASSET...")],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Approve what awaits review; each has its own outcome, and one that fails makes it end with 1.

    Examples:

    ```
    asgard assets approve 01a22801-526b-79a9-8378-bce9852ea8c9
    ```
    """
    with chronicle(server) as client:
        outcomes = client.assets.bulk_approve(asset_ids)
    if as_json:
        say_json(outcomes)
    for each in outcomes if not as_json else ():
        said = "approved" if each.approved else f"not approved: {each.message}"
        console().print(f"{each.asset_id}: {said}", markup=False)
    if not all(each.approved for each in outcomes):
        raise typer.Exit(1)


def reject(asset_id: AssetId, reason: Reason, server: Server = None) -> None:
    """Reject what awaits review: it is abandoned.

    Examples:

    ```
    asgard assets reject 01a22801-526b-79a9-8378-bce9852ea8c9 --reason "trained on the wrong split"
    ```
    """
    with chronicle(server) as client:
        client.assets.reject(asset_id, reason)
    console().print(f"{asset_id}: abandoned", markup=False)


def deprecate(asset_id: AssetId, reason: Reason, server: Server = None) -> None:
    """Warn of an asset; it stays usable.

    Examples:

    ```
    asgard assets deprecate 01a22801-526b-79a9-8378-bce9852ea8c9 --reason "v3 is better"
    ```
    """
    with chronicle(server) as client:
        client.assets.deprecate(asset_id, reason)
    console().print(f"{asset_id}: deprecated", markup=False)


def invalidate(asset_id: AssetId, reason: Reason, server: Server = None) -> None:
    """Block an asset as a new input; what is linked stays.

    Examples:

    ```
    asgard assets invalidate 01a22801-526b-79a9-8378-bce9852ea8c9 --reason "its units are wrong"
    ```
    """
    with chronicle(server) as client:
        client.assets.invalidate(asset_id, reason)
    console().print(f"{asset_id}: invalidated", markup=False)


def reinstate(asset_id: AssetId, reason: Reason, server: Server = None) -> None:
    """Take deprecation and invalidation back; the history keeps them.

    Examples:

    ```
    asgard assets reinstate 01a22801-526b-79a9-8378-bce9852ea8c9 --reason "its units are right"
    ```
    """
    with chronicle(server) as client:
        client.assets.reinstate(asset_id, reason)
    console().print(f"{asset_id}: reinstated", markup=False)


def delete(
    asset_id: AssetId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
) -> None:
    """Delete an asset for ever, unless something refers to it.

    Examples:

    ```
    asgard assets delete 01a22801-526b-79a9-8378-bce9852ea8c9 --yes
    ```
    """
    if not yes:
        typer.confirm(f"Delete asset {asset_id} and its bytes for ever?", abort=True)
    with chronicle(server) as client:
        gone = client.assets.delete(asset_id)
    console().print(
        f"{asset_id}: deleted, {gone.components_removed} files and {gone.grants_removed} grants",
        markup=False,
    )


def add_to(app: typer.Typer) -> None:
    """Add these commands to those on assets."""
    for command in (queue, approve, reject, deprecate, invalidate, reinstate, delete):
        app.command(command.__name__)(plain_errors(command))
