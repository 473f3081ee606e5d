"""The commands of `asgard experiments` about whose they are, and who may read them."""

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
)
from gimle.asgard.cli.speaking import fail

Whom = Annotated[
    str, typer.Argument(metavar="WHOM", help="@alice, t/ml-team, o/acme, everyone, or an id.")
]
What = Annotated[str, typer.Option(help="read, write, delete or administer.")]


def access(experiment: Experiment, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List who may do what with an experiment, and so with its outputs.

    Examples:

    ```
    asgard experiments access EXPERIMENT
    ```
    """
    with opened(server) as experiments:
        found = experiments.call("ListExperimentAccess", experiment_id=experiment)["grants"]
    say_all(found, ("principal_id", "handle", "action", "source"), "Nobody.", as_json)


def grant(
    experiment: Experiment,
    whom: Whom,
    action: What = "read",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Let somebody do something with an experiment, and so with its outputs.

    Examples:

    ```
    asgard experiments grant EXPERIMENT @alice
    asgard experiments grant EXPERIMENT t/ml-team --action write
    ```
    """
    with opened(server) as experiments:
        made = experiments.call(
            "GrantExperimentAccess",
            experiment_id=experiment,
            principal_id=whom,
            action=_number(action),
        )
    say(made["grant"] | {"added": made["added"]}, as_json)


def revoke(
    experiment: Experiment,
    whom: Whom,
    action: What = "read",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Take back what somebody may do.

    Examples:

    ```
    asgard experiments revoke EXPERIMENT @alice
    asgard experiments revoke EXPERIMENT t/ml-team --action write
    ```
    """
    with opened(server) as experiments:
        made = experiments.call(
            "RevokeExperimentAccess",
            experiment_id=experiment,
            principal_id=whom,
            action=_number(action),
        )
    say(made, as_json)


def visibility(
    experiment: Experiment,
    who: Annotated[str, typer.Argument(help="private, organization or public.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say who may read an experiment without a grant of their own.

    Examples:

    ```
    asgard experiments visibility EXPERIMENT organization
    ```
    """
    with opened(server) as experiments:
        made = experiments.call("SetExperimentVisibility", experiment_id=experiment, visibility=who)
    say(_short(made["experiment"]), as_json)


def move(
    experiment: Experiment,
    org: Annotated[str, typer.Argument(metavar="ORGANIZATION", help="o/acme, or an id.")],
    team: Annotated[str, typer.Option(help="A team of it: t/ml-team.")] = "",
    who: Annotated[str, typer.Option("--visibility", help="private, organization or public.")] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Give an experiment of your own to an organization that you are in.

    Examples:

    ```
    asgard experiments move EXPERIMENT o/acme
    asgard experiments move EXPERIMENT o/acme --team t/ml-team --visibility private
    ```
    """
    with opened(server) as experiments:
        made = experiments.call(
            "MoveExperiment",
            experiment_id=experiment,
            organization_id=org,
            team_id=team,
            visibility=who,
        )
    say(_short(made["experiment"]), as_json)


def _short(experiment: Any) -> Any:
    fields = ("id", "title", "organization_id", "team_id", "visibility")
    return {field: experiment[field] for field in fields}


def _number(action: str) -> int:
    from gimle.asgard.v1.asset_pb2 import AccessAction

    try:
        return AccessAction.Value(f"ACCESS_ACTION_{action.upper()}")
    except ValueError:
        fail(f"--action is {action!r}", "give read, write, delete or administer")


COMMANDS = (
    ("access", access),
    ("grant", grant),
    ("revoke", revoke),
    ("visibility", visibility),
    ("move", move),
)
