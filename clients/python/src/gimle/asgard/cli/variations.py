"""The commands of `asgard experiments` about variations, and about the runs that compute them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from gimle.asgard.cli.experiment_words import (
    SERVER,
    AsJson,
    Experiment,
    Run,
    Server,
    Variation,
    opened,
    say,
    say_all,
    warn,
)
from gimle.asgard.cli.speaking import console

Lease = Annotated[
    str,
    typer.Option(
        "--lease-token",
        envvar="ASGARD_LEASE_TOKEN",
        help="What `start` answered; without it the lease that holds is meant.",
    ),
]


def vary(
    experiment: Experiment,
    name: Annotated[str, typer.Option(help="What it is called.")] = "",
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file, YAML by custom.")
    ] = None,
    description: Annotated[str, typer.Option(help="More of it, for people.")] = "",
    hypothesis: Annotated[str, typer.Option(help="What is believed of it.")] = "",
    git_ref: Annotated[str, typer.Option(help="The code that computes it.")] = "",
    asset: Annotated[
        list[str] | None, typer.Option("--input", help="An asset that goes in; may be repeated.")
    ] = None,
    allow_invalid_assets: Annotated[
        bool, typer.Option(help="Link what is invalidated, too, and note that.")
    ] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Add a variation. Says its number.

    Examples:

    ```
    asgard experiments vary EXPERIMENT --name "damping 0.4" --config damping.yaml
    asgard experiments vary EXPERIMENT --input ASSET --git-ref 4f2a9c1 --json | jq .variation
    ```
    """
    with opened(server) as experiments:
        made = experiments.call(
            "CreateVariation",
            experiment_id=experiment,
            name=name,
            config_yaml="" if config is None else config.read_text(),
            description=description,
            hypothesis=hypothesis,
            git_ref=git_ref,
            input_asset_ids=asset or [],
            allow_invalid_assets=allow_invalid_assets,
        )
    warn(made["warnings"])
    if as_json:
        say(made["variation"], as_json)
    else:
        console().print(str(made["variation"]["variation"]))


def variation(
    experiment: Experiment, number: Variation, server: Server = SERVER, as_json: AsJson = False
) -> None:
    """Show a variation, and its runs.

    Examples:

    ```
    asgard experiments variation EXPERIMENT 0
    asgard experiments variation EXPERIMENT 0 --json | jq '.runs[-1].status'
    ```
    """
    with opened(server) as experiments:
        found = experiments.call("GetVariation", experiment_id=experiment, variation=number)
    if as_json:
        say(found, as_json)
        return
    say(found["variation"], as_json)
    console().print("\nruns", style="bold")
    fields = ("run", "status", "run_id", "worker", "started_at", "finished_at", "reason")
    say_all(found["runs"], fields, "none: the experiment is open", as_json)


def resume(
    experiment: Experiment, number: Variation, server: Server = SERVER, as_json: AsJson = False
) -> None:
    """Make another run of a variation, pending. Says its number.

    Examples:

    ```
    asgard experiments resume EXPERIMENT 0
    ```
    """
    with opened(server) as experiments:
        made = experiments.call("ResumeVariation", experiment_id=experiment, variation=number)
    if as_json:
        say(made["run"], as_json)
    else:
        console().print(str(made["run"]["run"]))


def start(
    experiment: Experiment,
    number: Variation,
    run: Run,
    worker: Annotated[str, typer.Option(help="What the worker calls itself.")] = "",
    lease: Annotated[int, typer.Option(help="For how many seconds a heartbeat is good.")] = 300,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Start a pending run. Says its lease token, to be sent with all that follows.

    Examples:

    ```
    export ASGARD_LEASE_TOKEN=$(asgard experiments start EXPERIMENT 0 0 --worker $HOSTNAME)
    asgard experiments beat EXPERIMENT 0 0
    asgard experiments succeed EXPERIMENT 0 0
    ```
    """
    from google.protobuf.duration_pb2 import Duration

    with opened(server) as experiments:
        made = experiments.call(
            "StartVariationRun",
            **_place(experiment, number, run),
            worker=worker,
            lease_duration=Duration(seconds=lease),
        )
    if as_json:
        say(made, as_json)
    else:
        console().print(made["lease_token"], markup=False)


def beat(
    experiment: Experiment,
    number: Variation,
    run: Run,
    token: Lease = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say that a run goes on: prolong its lease.

    Examples:

    ```
    asgard experiments beat EXPERIMENT 0 0 --lease-token TOKEN
    ```
    """
    _tell("HeartbeatVariationRun", server, as_json, _place(experiment, number, run), token)


def succeed(
    experiment: Experiment,
    number: Variation,
    run: Run,
    token: Lease = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say that a run has succeeded.

    Examples:

    ```
    asgard experiments succeed EXPERIMENT 0 0 --lease-token TOKEN
    ```
    """
    _tell("SucceedVariationRun", server, as_json, _place(experiment, number, run), token)


def fail_run(
    experiment: Experiment,
    number: Variation,
    run: Run,
    reason: Annotated[str, typer.Option(help="Why.")],
    abandon: Annotated[bool, typer.Option(help="It did not crash: it was given up.")] = False,
    token: Lease = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say that a run has failed; its uploads that go on are given up.

    Examples:

    ```
    asgard experiments fail EXPERIMENT 0 0 --reason "it diverged at step 400"
    asgard experiments fail EXPERIMENT 0 0 --reason "not needed any more" --abandon
    ```
    """
    fields = {"reason": reason, "status": "failed_abandoned" if abandon else ""}
    place = {**_place(experiment, number, run), **fields}
    _tell("FailVariationRun", server, as_json, place, token)


def show_run(
    experiment: Experiment,
    number: Variation,
    run: Run,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show a run, and how its lease stands.

    Examples:

    ```
    asgard experiments run EXPERIMENT 0 0
    asgard experiments run EXPERIMENT 0 0 --json | jq -r .run_id
    ```
    """
    with opened(server) as experiments:
        found = experiments.call("GetVariationRun", **_place(experiment, number, run))
    say(found["run"], as_json)


def _tell(method: str, server: str, as_json: bool, fields: dict[str, Any], token: str) -> None:
    with opened(server) as experiments:
        made = experiments.call(method, **fields, lease_token=token)
    if as_json:
        say(made["run"], as_json)
    else:
        console().print(made["run"]["status"], markup=False)


def _place(experiment: str, number: int, run: int) -> dict[str, Any]:
    return {"experiment_id": experiment, "variation": number, "run": run}


COMMANDS = (
    ("vary", vary),
    ("variation", variation),
    ("resume", resume),
    ("run", show_run),
    ("start", start),
    ("beat", beat),
    ("succeed", succeed),
    ("fail", fail_run),
)
