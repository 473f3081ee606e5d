"""Handles: an experiment or a variation with its id in hand; what changes one answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from methodic.answers import Answer
from methodic.experiments import Experiments, Variations


class Experiment:
    """`chronicle.experiment(id)`."""

    def __init__(self, experiments: Experiments, variations: Variations, id: str) -> None:
        self.id = id
        self._experiments = experiments
        self._variations = variations

    def __repr__(self) -> str:
        return f"Experiment({self.id!r})"

    def get(self) -> Answer:
        """`.experiment` and `.variations`, as they are now."""
        return self._experiments.get(self.id)

    def add_inputs(self, asset_ids: Sequence[str], **options: bool) -> Experiment:
        """Link assets as inputs."""
        self._experiments.add_inputs(self.id, asset_ids, **options)
        return self

    def commit(self, **options: Any) -> Experiment:
        """Freeze it."""
        self._experiments.commit(self.id, **options)
        return self

    def conclude(self, **options: Any) -> Experiment:
        """End it."""
        self._experiments.conclude(self.id, **options)
        return self

    def retract(self, reason: str, document_asset_id: str | None = None) -> Experiment:
        """Withdraw it, and its outputs with it."""
        self._experiments.retract(self.id, reason, document_asset_id)
        return self

    def create_variation(self, **fields: Any) -> Variation:
        """Add a variation."""
        made = self._variations.create(self.id, **fields)
        return self.variation(made.variation)

    def variation(self, number: int) -> Variation:
        """A variation by its number."""
        return Variation(self._variations, self.id, number)


class Variation:
    """`experiment.variation(number)`."""

    def __init__(self, variations: Variations, experiment_id: str, number: int) -> None:
        self.experiment_id = experiment_id
        self.number = number
        self._variations = variations

    def __repr__(self) -> str:
        return f"Variation({self.experiment_id!r}, {self.number})"

    def get(self) -> Answer:
        """As it is now."""
        return self._variations.get(self.experiment_id, self.number)

    def list_inputs(self) -> list[Answer]:
        """Its inputs."""
        return self._variations.list_inputs(self.experiment_id, self.number)

    def resume(self) -> int:
        """Make another run; answer its number."""
        return int(self._variations.resume(self.experiment_id, self.number).run)

    def retract(self, reason: str) -> Variation:
        """Withdraw it, and its outputs with it."""
        self._variations.retract(self.experiment_id, self.number, reason)
        return self
