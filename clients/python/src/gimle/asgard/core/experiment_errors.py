"""What is raised of experiments, their variations and runs. All are `ServiceError`s.

ServiceError
├── ExperimentStateError      the state of the experiment, or of its variation, does not allow it
├── ExperimentRetractedError  it is retracted, and nothing new is built on it
├── AlreadyConcludedError     it is concluded, and nobody said what then
├── VariationRunStateError    the status of the run does not allow it
├── RunLeaseLostError         the run is another worker's now, or nobody's
└── WandbPartialTripleError   of the three names of a W&B run some are missing
"""

from __future__ import annotations

from gimle.asgard.core.errors import ServiceError


class ExperimentStateError(ServiceError):
    """The experiment, or `what` of it, is `state`; `problem` where that is not all.

    `mend` says what can be done.
    """

    def __init__(
        self, experiment_id: str, state: str, mend: str, what: str = "", problem: str = ""
    ) -> None:
        told = ", ".join(filter(None, (state, problem)))
        super().__init__(f"{what or f'the experiment {experiment_id}'} is {told}; {mend}")
        self.experiment_id = experiment_id
        self.state = state
        self.mend = mend


class ExperimentRetractedError(ServiceError):
    """The experiment is retracted for `reason`."""

    def __init__(self, experiment_id: str, reason: str, mend: str = "") -> None:
        super().__init__(
            f"the experiment {experiment_id} is retracted ({reason})" + (mend and f"; {mend}")
        )
        self.experiment_id = experiment_id
        self.reason = reason


class AlreadyConcludedError(ServiceError):
    """The experiment is concluded by the asset `asset_id`."""

    def __init__(self, experiment_id: str, asset_id: str) -> None:
        super().__init__(
            f"the experiment {experiment_id} is concluded by {asset_id}; give on_exist_action:"
            " keep to leave it so, regenerate to take a newer takeaways_report"
        )
        self.experiment_id = experiment_id
        self.asset_id = asset_id


class VariationRunStateError(ServiceError):
    """The run is `status`, which does not allow what was asked for."""

    def __init__(self, run_id: str, status: str, mend: str) -> None:
        super().__init__(f"the run {run_id} is {status}; {mend}")
        self.run_id = run_id
        self.status = status


class RunLeaseLostError(ServiceError):
    """The lease of the run is not the caller's: what it sends comes too late."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"the lease of the run {run_id} is not yours, or no more: stop, and resume it"
        )
        self.run_id = run_id


class WandbPartialTripleError(ServiceError):
    """Of the names of a W&B run `field` is missing."""

    def __init__(self, field: str) -> None:
        super().__init__(
            "wandb_partial_triple: give wandb_run_id, wandb_entity and wandb_project together, or"
            f" none; {field} is missing"
        )
        self.field = field
