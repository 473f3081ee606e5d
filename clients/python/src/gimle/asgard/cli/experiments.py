"""`asgard experiments`: what is believed, what is computed for it, and what was found."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from gimle.asgard.cli import experiment_access, experiment_links, variations
from gimle.asgard.cli.experiment_words import (
    SERVER,
    AsJson,
    Experiment,
    Server,
    opened,
    say,
    say_all,
    say_assets,
)
from gimle.asgard.cli.speaking import console, fail, plain_errors

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Experiments: a hypothesis, the variations that are computed for it, and what was found.",
)


def list_experiments(
    status: Annotated[
        str, typer.Option(help="open, committed, concluded or retracted; all when not given.")
    ] = "",
    owner: Annotated[str, typer.Option(help="Those of @alice, t/ml-team, o/acme, or an id.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")
    ] = 20,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List experiments that you may read, newest first.

    Examples:

    ```
    asgard experiments list
    asgard experiments list --status committed --limit 5
    asgard experiments list --owner o/acme --json | jq -r '.[].id'
    ```
    """
    with opened(server) as experiments:
        every = experiments.all("ListExperiments", "experiments", status=status, owner=owner)
        found = list(islice(every, limit or None))
    say_all(found, ("id", "state", "title", "created_at"), "There is no experiment.", as_json)


def show(experiment: Experiment, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Show an experiment with its variations, inputs and findings.

    Examples:

    ```
    asgard experiments show EXPERIMENT
    asgard experiments show EXPERIMENT --json | jq .variations
    ```
    """
    with opened(server) as experiments:
        found = experiments.call("GetExperiment", experiment_id=experiment)
    if as_json:
        say(found, as_json)
        return
    say(found["experiment"], as_json)
    fields = ("variation", "name", "state", "run_count", "latest_status")
    console().print("\nvariations", style="bold")
    say_all(found["variations"], fields, "none yet", as_json)
    console().print("\ninputs", style="bold")
    say_assets(found["inputs"], as_json)
    console().print("\nfindings", style="bold")
    say_all(found["findings"], ("status", "summary"), "none yet", as_json)


def create(
    hypothesis: Annotated[str, typer.Argument(metavar="HYPOTHESIS", help="What is believed.")],
    title: Annotated[str, typer.Option(help="Its title; else how the hypothesis begins.")] = "",
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file, YAML by custom.")
    ] = None,
    description: Annotated[str, typer.Option(help="More of it, for people.")] = "",
    parent: Annotated[
        list[str] | None, typer.Option(help="What it is built upon; may be repeated.")
    ] = None,
    tentative: Annotated[
        list[str] | None, typer.Option(help="The same, decided when it is committed.")
    ] = None,
    allow_retracted_parent: Annotated[
        bool, typer.Option(help="Build on what was retracted, too.")
    ] = False,
    org: Annotated[str, typer.Option(help="Whose it is: o/acme, or an id.")] = "",
    team: Annotated[str, typer.Option(help="The same of a team: t/ml-team.")] = "",
    visibility: Annotated[str, typer.Option(help="private, organization or public.")] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Begin an experiment, open. Says its id.

    Examples:

    ```
    asgard experiments create "Damping keeps the gain below 3"
    asgard experiments create "The same at 4x resolution" --parent PARENT
    asgard experiments create "A sweep" --config sweep.yaml --org o/acme --json | jq -r .id
    ```
    """
    with opened(server) as experiments:
        made = experiments.call(
            "CreateExperiment",
            hypothesis_summary=hypothesis,
            title=title,
            config_yaml="" if config is None else config.read_text(),
            description=description,
            parent_experiment_ids=parent or [],
            tentative_parent_ids=tentative or [],
            allow_retracted_parent=allow_retracted_parent,
            organization_id=org,
            team_id=team,
            visibility=visibility,
        )["experiment"]
    if as_json:
        say(made, as_json)
    else:
        console().print(made["id"], markup=False)


def commit(
    experiment: Experiment,
    promote: Annotated[
        list[str] | None, typer.Option(help="A tentative parent that it is built upon.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="One that it is not.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Fix what is believed and what goes in; each variation gets its run 0.

    It needs a hypothesis_report among its inputs.

    Examples:

    ```
    asgard experiments commit EXPERIMENT
    asgard experiments commit EXPERIMENT --promote PARENT
    ```
    """
    decided = dict.fromkeys(promote or [], "promote") | dict.fromkeys(drop or [], "drop")
    with opened(server) as experiments:
        made = experiments.call(
            "CommitExperiment", experiment_id=experiment, tentative_links=decided
        )
    if as_json:
        say(made, as_json)
        return
    say_all(made["variations"], ("variation", "name", "latest_status"), "Committed.", as_json)


def conclude(
    experiment: Experiment,
    if_concluded: Annotated[
        str, typer.Option(help="What then: keep it so, or regenerate from a newer report.")
    ] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say that what was found is written down, in an approved takeaways_report.

    Examples:

    ```
    asgard experiments conclude EXPERIMENT
    asgard experiments conclude EXPERIMENT --if-concluded keep
    ```
    """
    with opened(server) as experiments:
        made = experiments.call(
            "ConcludeExperiment", experiment_id=experiment, on_exist_action=if_concluded
        )
    if as_json:
        say(made, as_json)
    else:
        console().print(f"Concluded by {made['takeaways_report_id']}.", markup=False)


def retract(
    experiment: Experiment,
    reason: Annotated[str, typer.Option(help="Why it is taken back.")] = "",
    document: Annotated[str, typer.Option(help="An asset that says more.")] = "",
    variation: Annotated[int | None, typer.Option(help="Only this variation of it.")] = None,
    preview: Annotated[bool, typer.Option(help="Say what it would hit, and do nothing.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Take an experiment back: all its outputs become invalid with it.

    Examples:

    ```
    asgard experiments retract EXPERIMENT --preview
    asgard experiments retract EXPERIMENT --reason "the sensor was off"
    asgard experiments retract EXPERIMENT --variation 2 --reason "wrong seed"
    ```
    """
    which = {} if variation is None else {"variation": variation}
    with opened(server) as experiments:
        if preview:
            _say_preview(
                experiments.call("PreviewRetraction", experiment_id=experiment, **which), as_json
            )
            return
        if variation is None:
            made = experiments.call(
                "RetractExperiment",
                experiment_id=experiment,
                reason=reason,
                document_asset_id=document,
            )
        elif document:
            fail("--document is of whole experiments", "leave out --variation, or the document")
        else:
            made = experiments.call(
                "RetractVariation", experiment_id=experiment, reason=reason, **which
            )
    if as_json:
        say(made, as_json)
    else:
        console().print(f"Retracted: {made['invalidated_outputs']:,} outputs are invalid by it.")


def _say_preview(found: Any, as_json: bool) -> None:
    if as_json:
        say(found, as_json)
        return
    console().print(f"{found['invalidated_outputs']:,} outputs would become invalid", style="bold")
    say_assets(found["outputs"], as_json)
    console().print("\nwho builds on it", style="bold")
    fields = ("experiment_id", "title", "state", "asset_id", "variation", "distance")
    say_all(found["downstream"], fields, "nobody", as_json)


def delete(experiment: Experiment, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Delete an open experiment; its assets stay.

    Examples:

    ```
    asgard experiments delete EXPERIMENT
    ```
    """
    with opened(server) as experiments:
        made = experiments.call("DeleteExperiment", experiment_id=experiment)
    if as_json:
        say(made, as_json)
    else:
        console().print(f"Deleted, with {made['links_removed']:,} links.")


for _name, _command in (
    *(("list", list_experiments), ("show", show), ("create", create), ("commit", commit)),
    *(("conclude", conclude), ("retract", retract), ("delete", delete)),
    *experiment_links.COMMANDS,
    *variations.COMMANDS,
    *experiment_access.COMMANDS,
):
    app.command(_name)(plain_errors(_command))
