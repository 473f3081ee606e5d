"""The commands of `asgard experiments` about what goes in, what comes out, and what was found."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from gimle.asgard.cli.experiment_words import (
    SERVER,
    AsJson,
    Experiment,
    Server,
    opened,
    say,
    say_all,
    say_assets,
    warn,
)
from gimle.asgard.cli.speaking import console


def link(
    experiment: Experiment,
    assets: Annotated[list[str], typer.Argument(metavar="ASSET...", help="Ids of assets.")],
    variation: Annotated[int | None, typer.Option(help="Of this variation.")] = None,
    allow_invalid_assets: Annotated[
        bool, typer.Option(help="Link what is invalidated, too, and note that.")
    ] = False,
    propagate: Annotated[
        bool, typer.Option(help="Let who reads the experiment read them, too.")
    ] = True,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Link assets as inputs, all or none.

    Examples:

    ```
    asgard experiments link EXPERIMENT ASSET
    asgard experiments link EXPERIMENT ASSET ASSET --variation 0
    asgard experiments link EXPERIMENT ASSET --no-propagate --allow-invalid-assets
    ```
    """
    fields: dict[str, Any] = {
        "experiment_id": experiment,
        "asset_ids": assets,
        "allow_invalid_assets": allow_invalid_assets,
    }
    with opened(server) as experiments:
        if variation is None:
            made = experiments.call("AddExperimentInputs", propagate_acl=propagate, **fields)
        else:
            made = experiments.call("AddVariationInputs", variation=variation, **fields)
    warn(made["warnings"])
    say_assets(made["assets"], as_json)


def unlink(
    experiment: Experiment,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The id of an asset.")],
    variation: Annotated[int | None, typer.Option(help="Of this variation.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Remove an input, while it is open.

    Examples:

    ```
    asgard experiments unlink EXPERIMENT ASSET
    asgard experiments unlink EXPERIMENT ASSET --variation 0
    ```
    """
    fields: dict[str, Any] = {"experiment_id": experiment, "asset_id": asset}
    with opened(server) as experiments:
        if variation is None:
            made = experiments.call("RemoveExperimentInput", **fields)
        else:
            made = experiments.call("RemoveVariationInput", variation=variation, **fields)
    if as_json:
        say(made, as_json)
    else:
        console().print("Removed." if made["removed"] else "It was not linked.")


def inputs(
    experiment: Experiment,
    variation: Annotated[int | None, typer.Option(help="Of this variation.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List what goes in, with what keeps it from being relied on.

    Examples:

    ```
    asgard experiments inputs EXPERIMENT
    asgard experiments inputs EXPERIMENT --variation 0 --json
    ```
    """
    which = {} if variation is None else {"variation": variation}
    method = "ListExperimentInputs" if variation is None else "ListVariationInputs"
    with opened(server) as experiments:
        say_assets(experiments.assets(method, experiment_id=experiment, **which), as_json)


def outputs(
    experiment: Experiment,
    variation: Annotated[int | None, typer.Option(help="Of this variation.")] = None,
    asset_type: Annotated[str, typer.Option("--type", help="Of one type.")] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List what came out, with what keeps it from being relied on.

    Examples:

    ```
    asgard experiments outputs EXPERIMENT
    asgard experiments outputs EXPERIMENT --variation 0 --type checkpoint --json
    ```
    """
    which = {} if variation is None else {"variation": variation}
    with opened(server) as experiments:
        found = experiments.assets(
            "ListExperimentOutputs", experiment_id=experiment, asset_type=asset_type, **which
        )
        say_assets(found, as_json)


def find(
    experiment: Experiment,
    status: Annotated[str, typer.Argument(help="working, partial or not_working.")],
    summary: Annotated[str, typer.Argument(help="What was found.")],
    variation: Annotated[int | None, typer.Option(help="The variation that shows it.")] = None,
    asset: Annotated[str, typer.Option(help="The asset that shows it.")] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Note what an experiment found.

    Examples:

    ```
    asgard experiments find EXPERIMENT working "the gain stays below 2.7" --variation 0
    ```
    """
    evidence = {} if variation is None else {"evidence_variation": variation}
    with opened(server) as experiments:
        made = experiments.call(
            "RecordFinding",
            experiment_id=experiment,
            status=status,
            summary=summary,
            source_asset_id=asset,
            **evidence,
        )
    say(made["finding"], as_json)


def lineage(
    experiment: Experiment,
    direction: Annotated[str, typer.Option(help="upstream or downstream; else both.")] = "",
    depth: Annotated[int, typer.Option(help="How many steps, 1 to 20.")] = 5,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say what an experiment is built upon, and what is built upon it.

    Examples:

    ```
    asgard experiments lineage EXPERIMENT
    asgard experiments lineage EXPERIMENT --direction upstream --depth 2 --json
    ```
    """
    with opened(server) as experiments:
        found = experiments.call(
            "GetExperimentLineage", experiment_id=experiment, direction=direction, depth=depth
        )
    if as_json:
        say(found, as_json)
        return
    nodes = sorted(found["nodes"], key=lambda node: node["distance"])
    fields = ("distance", "experiment_id", "state", "title", "retraction_reason")
    say_all(nodes, fields, "", as_json)


def retractions(
    experiment: Experiment,
    depth: Annotated[int, typer.Option(help="How many steps, 1 to 20.")] = 5,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say what was taken back among the things an experiment is built upon.

    Examples:

    ```
    asgard experiments retractions EXPERIMENT
    asgard experiments retractions EXPERIMENT --depth 20 --json | jq length
    ```
    """
    with opened(server) as experiments:
        found = experiments.call("ListUpstreamRetractions", experiment_id=experiment, depth=depth)[
            "retractions"
        ]
    fields = ("distance", "kind", "id", "label", "reason")
    say_all(found, fields, "Nothing of that was taken back.", as_json)


COMMANDS = (
    ("link", link),
    ("unlink", unlink),
    ("inputs", inputs),
    ("outputs", outputs),
    ("find", find),
    ("lineage", lineage),
    ("retractions", retractions),
)
