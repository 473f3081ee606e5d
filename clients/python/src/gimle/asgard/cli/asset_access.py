"""`asgard assets grant|revoke|access|explain|share|visibility|move|lineage|audit`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from gimle.asgard.cli.chronicling import (
    AsJson,
    AssetId,
    Server,
    chronicle,
    say_json,
    say_table,
    short_time,
)
from gimle.asgard.cli.speaking import console, plain_errors

Principal = Annotated[
    str,
    typer.Argument(
        metavar="PRINCIPAL", help="A sub, an id, @alice, t/ml-team, o/acme, or everyone."
    ),
]
Action = Annotated[str, typer.Argument(metavar="[ACTION]", help="read, write, delete, administer.")]


def grant(
    asset_id: AssetId, principal: Principal, action: Action = "read", server: Server = None
) -> None:
    """Let somebody do something with an asset.

    Examples:

    ```
    asgard assets grant 01a22801-526b-79a9-8378-bce9852ea8c9 @alice
    asgard assets grant 01a22801-526b-79a9-8378-bce9852ea8c9 t/ml-team write
    ```
    """
    with chronicle(server) as client:
        done = client.assets.grant_access(asset_id, principal, action)
    said = "may now" if done.added else "could already"
    console().print(f"{principal} {said} {action} {asset_id}", markup=False)


def revoke(
    asset_id: AssetId, principal: Principal, action: Action = "read", server: Server = None
) -> None:
    """Take a grant back.

    Examples:

    ```
    asgard assets revoke 01a22801-526b-79a9-8378-bce9852ea8c9 @alice
    ```
    """
    with chronicle(server) as client:
        done = client.assets.revoke_access(asset_id, principal, action)
    said = "taken back" if done.removed else "there was no such grant"
    console().print(f"{principal}, {action}: {said}", markup=False)


def access(asset_id: AssetId, server: Server = None, as_json: AsJson = False) -> None:
    """List who may do what with an asset, and where it comes from.

    Examples:

    ```
    asgard assets access 01a22801-526b-79a9-8378-bce9852ea8c9
    ```
    """
    with chronicle(server) as client:
        grants = client.assets.list_access(asset_id)
    if as_json:
        say_json(grants)
        return
    say_table(
        ("principal", "action", "from", "granted by", "at"),
        (
            (
                each.handle or each.principal_id,
                each.action,
                each.source,
                each.granted_by,
                short_time(each.granted_at),
            )
            for each in grants
        ),
        "Nobody may do anything with it.",
    )


def explain(
    asset_id: AssetId,
    principal: Annotated[
        str | None, typer.Argument(metavar="[PRINCIPAL]", help="You, when it is left out.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Say why somebody may do something with an asset, or may not.

    Examples:

    ```
    asgard assets explain 01a22801-526b-79a9-8378-bce9852ea8c9 @alice
    ```
    """
    with chronicle(server) as client:
        found = client.assets.explain_access(asset_id, principal)
    if as_json:
        say_json(found)
        return
    may = ", ".join(found.allowed_actions) or "do nothing with it"
    console().print(f"{found.principal_id} may {may}", markup=False)
    for way in found.ways:
        console().print(f"  {way.sentence}", markup=False)


def share(
    asset_id: AssetId,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="A team or organization of yours.")],
    action: Action = "read",
    server: Server = None,
) -> None:
    """Share an asset with a whole team or organization of yours.

    Examples:

    ```
    asgard assets share 01a22801-526b-79a9-8378-bce9852ea8c9 t/ml-team
    asgard assets share 01a22801-526b-79a9-8378-bce9852ea8c9 o/acme write
    ```
    """
    with chronicle(server) as client:
        client.assets.share_with_scope(asset_id, scope, action)
    console().print(f"{scope} may {action} {asset_id}", markup=False)


def visibility(
    asset_id: AssetId,
    value: Annotated[
        str, typer.Argument(metavar="VISIBILITY", help="private, organization, team or public.")
    ],
    server: Server = None,
) -> None:
    """Say who may read an asset without a grant of their own.

    Examples:

    ```
    asgard assets visibility 01a22801-526b-79a9-8378-bce9852ea8c9 public
    ```
    """
    with chronicle(server) as client:
        found = client.assets.set_visibility(asset_id, value).asset
    console().print(f"{asset_id}: {found.visibility}", markup=False)


def move(
    asset_id: AssetId,
    organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", help="o/acme, or an id.")],
    team: Annotated[str | None, typer.Option(help="A team of it.")] = None,
    server: Server = None,
) -> None:
    """Give an asset to an organization that you are in.

    Examples:

    ```
    asgard assets move 01a22801-526b-79a9-8378-bce9852ea8c9 o/acme
    asgard assets move 01a22801-526b-79a9-8378-bce9852ea8c9 o/acme --team t/ml-team
    ```
    """
    with chronicle(server) as client:
        client.assets.move(asset_id, organization, team)
    console().print(f"{asset_id}: of {team or organization}", markup=False)


def lineage(
    asset_id: AssetId,
    depth: Annotated[int, typer.Option(min=1, max=20, help="Steps in either direction.")] = 5,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show what an asset was made from, and what was made from it.

    Examples:

    ```
    asgard assets lineage 01a22801-526b-79a9-8378-bce9852ea8c9 --depth 2
    ```
    """
    with chronicle(server) as client:
        found = client.assets.lineage(asset_id, depth=depth)
    if as_json:
        say_json(found)
        return
    say_table(
        ("distance", "kind", "id", "", ""),
        (
            (f"{each.distance:+d}", each.kind, each.id, each.label, _state(each))
            for each in sorted(found.nodes, key=lambda each: each.distance)
        ),
        "It stands alone.",
    )
    if found.is_cut:
        console().print("There is more: ask with a greater --depth.", markup=False)


def _state(node: dict[str, object]) -> str:
    return ", ".join(flag for flag in ("deprecated", "invalidated", "retracted") if node.get(flag))


def audit(
    asset_id: Annotated[str | None, typer.Option("--asset", help="Of one asset.")] = None,
    experiment_id: Annotated[str | None, typer.Option("--experiment")] = None,
    organization: Annotated[str | None, typer.Option(help="Of one organization.")] = None,
    principal: Annotated[str | None, typer.Option(help="What one principal did.")] = None,
    server: Server = None,
) -> None:
    """Print who did what when to which, the newest first, as JSON Lines.

    Examples:

    ```
    asgard assets audit --asset 01a22801-526b-79a9-8378-bce9852ea8c9
    asgard assets audit --organization o/acme > audit.jsonl
    ```
    """
    with chronicle(server) as client:
        entries = client.audit(
            asset_id=asset_id,
            experiment_id=experiment_id,
            organization_id=organization,
            principal_id=principal,
        )
        for each in entries:
            console().print(json.dumps(each), markup=False)


def add_to(app: typer.Typer) -> None:
    """Add these commands to those on assets."""
    for command in (
        *(grant, revoke, access, explain, share, visibility, move),
        *(lineage, audit),
    ):
        app.command(command.__name__)(plain_errors(command))
