"""What a service says of experiments, as exceptions: those rows of errors.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gimle.asgard.core import errors, experiment_errors

_Fields = Callable[[Mapping[str, str]], dict[str, Any]]

_KINDS: Mapping[str, tuple[type[errors.AsgardError], _Fields]] = {
    "EXPERIMENT_STATE": (
        experiment_errors.ExperimentStateError,
        lambda info: {
            "experiment_id": info["experimentId"],
            "state": info["state"],
            "mend": info["mend"],
        },
    ),
    "EXPERIMENT_RETRACTED": (
        experiment_errors.ExperimentRetractedError,
        lambda info: {"experiment_id": info["experimentId"], "reason": info["reason"]},
    ),
    "ALREADY_CONCLUDED_BY": (
        experiment_errors.AlreadyConcludedError,
        lambda info: {"experiment_id": info["experimentId"], "asset_id": info["assetId"]},
    ),
    "RUN_STATE": (
        experiment_errors.VariationRunStateError,
        lambda info: {"run_id": info["runId"], "status": info["status"]},
    ),
    "WANDB_PARTIAL_TRIPLE": (
        experiment_errors.WandbPartialTripleError,
        lambda info: {"field": info["field"]},
    ),
}


def lease_lost(message: str, info: Mapping[str, str], place: str) -> errors.AsgardError:
    """The row of a lease that was lost: of a run."""
    return _made(experiment_errors.RunLeaseLostError, message, {"run_id": info["runId"]})


def _row(
    kind: type[errors.AsgardError], fields: _Fields
) -> Callable[[str, Mapping[str, str], str], errors.AsgardError]:
    return lambda message, info, place: _made(kind, message, fields(info))


def _made(
    kind: type[errors.AsgardError], message: str, fields: Mapping[str, Any]
) -> errors.AsgardError:
    # Not by its constructor: the words are the service's.
    error = kind.__new__(kind)
    error.args = (message,)
    vars(error).update(fields)
    return error


ROWS = {
    "EXPERIMENT_NOT_FOUND": lambda message, info, place: errors.NotFoundError(
        "experiment", info["experimentId"]
    ),
    "VARIATION_NOT_FOUND": lambda message, info, place: errors.NotFoundError(
        "variation", info["variationId"]
    ),
    **{reason: _row(*row) for reason, row in _KINDS.items()},
}
