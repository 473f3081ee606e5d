"""`chronicle.experiments` and `chronicle.variations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gimle.asgard.core.ids import new_id

from methodic import paths
from methodic.answers import Answer, Answers
from methodic.scopes import Organization, Owner
from methodic.transport import Transport


class Experiments:
    """Every call on experiments."""

    def __init__(self, transport: Transport, owner: Owner) -> None:
        self._transport = transport
        self._owner = owner

    def create(
        self,
        hypothesis_summary: str,
        config_yaml: str = "",
        rationale: str | None = None,
        description: str | None = None,
        title: str | None = None,
        parent_experiment_ids: Sequence[str] = (),
        organization_id: Organization = None,
        *,
        team_id: str | None = None,
        visibility: str | None = None,
        allow_retracted_parent: bool = False,
    ) -> Answer:
        """Begin an experiment, open. Answers its id and fields, also as `.experiment`."""
        body = {
            "id": new_id(datetime.now(UTC)),
            "hypothesis_summary": hypothesis_summary,
            "config_yaml": config_yaml,
            "rationale": rationale,
            "description": description,
            "title": title,
            "parent_experiment_ids": list(parent_experiment_ids),
            "organization_id": self._owner.of(organization_id),
            "team_id": team_id,
            "visibility": visibility,
            "allow_retracted_parent": allow_retracted_parent or None,
        }
        made = self._transport.post("/v1/experiments", body, safe=True)
        return Answer({**made.experiment, **made})

    def get(self, experiment_id: str) -> Answer:
        """`.experiment` and `.variations`."""
        found: Answer = self._transport.get(paths.experiment(experiment_id))
        return found

    def iter(self, status: str | None = None) -> Iterator[Answer]:
        """Experiments that may be read, newest first; of one state ("open") where asked."""
        yield from self._transport.pages("/v1/experiments", "experiments", status=status)

    def list(self, status: str | None = None) -> Answers:
        """All of them."""
        return [*self.iter(status)]

    def update(self, experiment_id: str, **fields: Any) -> Answer:
        """Change texts or configuration of an open one."""
        found: Answer = self._transport.put(paths.experiment(experiment_id), fields)
        return found

    def commit(
        self, experiment_id: str, tentative_links: Mapping[str, str] | None = None
    ) -> Answer:
        """Freeze it; it needs a hypothesis_report among its inputs."""
        return self._put(experiment_id, "commit", tentative_links=tentative_links)

    def conclude(self, experiment_id: str, on_exist_action: str | None = None) -> Answer:
        """End it; it needs an approved takeaways_report."""
        return self._put(experiment_id, "conclude", on_exist_action=on_exist_action)

    def retract(
        self, experiment_id: str, reason: str, document_asset_id: str | None = None
    ) -> Answer:
        """Withdraw it: all its outputs are invalidated. Answers how many."""
        return self._put(
            experiment_id, "retract", reason=reason, document_asset_id=document_asset_id
        )

    def preview_retract(self, experiment_id: str) -> Answer:
        """What a retraction would hit, also downstream."""
        found: Answer = self._transport.get(f"{paths.experiment(experiment_id)}/retract:preview")
        return found

    def delete(self, experiment_id: str) -> Answer:
        """Delete an open one; its assets stay."""
        found: Answer = self._transport.delete(paths.experiment(experiment_id))
        return found

    def move(
        self,
        experiment_id: str,
        organization_id: str,
        team_id: str | None = None,
        visibility: str | None = None,
    ) -> Answer:
        """Give it to an organization that the caller is in."""
        body = {
            "organization_id": organization_id,
            "team_id": team_id,
            "visibility": visibility,
        }
        found: Answer = self._transport.post(
            f"{paths.experiment(experiment_id)}/move", body, safe=True
        )
        return found

    def add_inputs(
        self,
        experiment_id: str,
        asset_ids: Sequence[str],
        *,
        propagate_acl: bool = True,
        allow_invalid_assets: bool = False,
    ) -> Answer:
        """Link assets as inputs; who may read it may then read them, unless told not to.

        Raises ConflictError "asset_invalidated". `.warnings` names those that are deprecated.
        """
        body = {
            "asset_ids": list(asset_ids),
            "propagate_acl": propagate_acl,
            "allow_invalid_assets": allow_invalid_assets or None,
        }
        found: Answer = self._transport.post(
            f"{paths.experiment(experiment_id)}/inputs", body, safe=True
        )
        return found

    def list_inputs(self, experiment_id: str) -> Answers:
        """Its inputs, each with its flags."""
        found: Answers = self._transport.get(f"{paths.experiment(experiment_id)}/inputs")
        return found

    def list_outputs(self, experiment_id: str) -> Answers:
        """Its outputs, each with its flags."""
        found: Answers = self._transport.get(f"{paths.experiment(experiment_id)}/outputs")
        return found

    def unlink_input(self, experiment_id: str, asset_id: str) -> Answer:
        """Take an input away again, while it is open."""
        found: Answer = self._transport.delete(
            f"{paths.experiment(experiment_id)}/inputs/{asset_id}"
        )
        return found

    def get_lineage(self, experiment_id: str, depth: int | None = None) -> Answer:
        """Its ancestors and descendants."""
        found: Answer = self._transport.get(
            f"{paths.experiment(experiment_id)}/lineage", depth=depth
        )
        return found

    def get_upstream_retractions(self, experiment_id: str, depth: int = 5) -> Answer:
        """Retracted experiments that it was built on."""
        path = f"{paths.experiment(experiment_id)}/upstream-retractions"
        found: Answer = self._transport.get(path, depth=depth)
        return found

    def record_finding(
        self,
        experiment_id: str,
        status: str,
        summary: str,
        evidence_variation: int | None = None,
        source_asset_id: str | None = None,
    ) -> Answer:
        """Note what was found: "working", "partial" or "not_working"."""
        body = {
            "status": status,
            "summary": summary,
            "evidence_variation": evidence_variation,
            "source_asset_id": source_asset_id,
        }
        found: Answer = self._transport.post(f"{paths.experiment(experiment_id)}/findings", body)
        return found

    def _put(self, experiment_id: str, what: str, **body: Any) -> Answer:
        found: Answer = self._transport.put(f"{paths.experiment(experiment_id)}/{what}", body)
        return found


class Variations:
    """Every call on variations of an experiment."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        experiment_id: str,
        config_yaml: str = "",
        description: str | None = None,
        name: str | None = None,
        hypothesis: str | None = None,
        git_ref: str | None = None,
        input_asset_ids: Sequence[str] = (),
        *,
        allow_invalid_assets: bool = False,
    ) -> Answer:
        """Add a variation, its inputs linked.

        Answers its number (`.variation`) and fields, with `.warnings` of deprecated inputs.
        """
        body = {
            "config_yaml": config_yaml,
            "description": description,
            "name": name,
            "hypothesis": hypothesis,
            "git_ref": git_ref,
            "input_asset_ids": list(input_asset_ids),
            "allow_invalid_assets": allow_invalid_assets or None,
        }
        made = self._transport.post(f"{paths.experiment(experiment_id)}/variations", body)
        return Answer({**made.variation, "warnings": made.warnings})

    def get(self, experiment_id: str, variation: int) -> Answer:
        """One of an experiment's variations."""
        found = self._transport.get(paths.variation(experiment_id, variation))
        return Answer({**found.variation, "runs": found.runs})

    def list(self, experiment_id: str) -> Answers:
        """All of an experiment's."""
        found: Answers = self._transport.get(paths.experiment(experiment_id)).variations
        return found

    def resume(self, experiment_id: str, variation: int) -> Answer:
        """Make another run of it; answers the run, its number as `.run`."""
        path = f"{paths.variation(experiment_id, variation)}/resume"
        made: Answer = self._transport.post(path, {}).run
        return made

    def retract(self, experiment_id: str, variation: int, reason: str) -> Answer:
        """Withdraw one variation: its outputs are invalidated."""
        found: Answer = self._transport.put(
            f"{paths.variation(experiment_id, variation)}/retract", {"reason": reason}
        )
        return found

    def list_inputs(self, experiment_id: str, variation: int) -> Answers:
        """Its inputs, each with its flags."""
        found: Answers = self._transport.get(f"{paths.variation(experiment_id, variation)}/inputs")
        return found

    def unlink_input(self, experiment_id: str, variation: int, asset_id: str) -> Answer:
        """Take an input away again, while it is open."""
        path = f"{paths.variation(experiment_id, variation)}/inputs/{asset_id}"
        found: Answer = self._transport.delete(path)
        return found
