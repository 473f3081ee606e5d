"""What an experiment and a variation are, and what may become of them.

Pure: functions over rows that return new ones or raise errors that carry their data. Nothing here
knows gRPC or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.experiment_errors import (
    AlreadyConcludedError,
    ExperimentRetractedError,
    ExperimentStateError,
)

from asgard_server.access.domain import Visibility

State = Literal["open", "committed", "concluded"]
VariationState = Literal["open", "committed"]
FindingStatus = Literal["working", "partial", "not_working"]

HYPOTHESIS = "hypothesis_report"
TAKEAWAYS = "takeaways_report"
# What may still be cited when the inputs are fixed.
CITED = frozenset(
    {
        *("publication", "imported_report", "research_report", "variation_report"),
        *("retraction_report", TAKEAWAYS),
    }
)

# The whole life of an experiment. Being retracted is beside it.
_NEXT: Mapping[State, frozenset[State]] = {
    "open": frozenset({"committed"}),
    "committed": frozenset({"concluded"}),
    "concluded": frozenset(),
}

Deed = Literal[
    "edit", "delete", "link", "cite", "vary", "resume", "run", "find", "conclude", "retract"
]
# What may be done in which state, and what to do instead.
_ALLOWED: Mapping[Deed, tuple[frozenset[State], str]] = {
    "edit": (frozenset({"open"}), "only title and description may still be changed"),
    "delete": (frozenset({"open"}), "retract it instead"),
    "link": (frozenset({"open"}), "its inputs are fixed; make another experiment"),
    "cite": (frozenset({"open", "committed"}), "nothing can be added to it any more"),
    "vary": (frozenset({"open", "committed"}), "make another experiment"),
    "resume": (frozenset({"committed"}), "runs are made of a committed experiment"),
    "run": (frozenset({"committed", "concluded"}), "commit it first"),
    "find": (frozenset({"committed", "concluded"}), "commit it first"),
    "conclude": (frozenset({"committed", "concluded"}), "commit it first"),
    "retract": (frozenset({"committed", "concluded"}), "delete it instead"),
}


@dataclass(frozen=True, slots=True)
class Retraction:
    """That something was taken back. `document_id`: an asset that says more."""

    reason: str
    by: str
    at: datetime
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """An experiment that another is built upon. `tentative`: committing decides of it."""

    id: str
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """A row of the table of experiments. `variations` counts them, removed ones too."""

    id: str
    state: State
    title: str
    hypothesis_summary: str
    created_at: datetime
    updated_at: datetime
    created_by: str
    request_digest: str = ""
    rationale: str = ""
    description: str = ""
    config_yaml: str = ""
    organization_id: str | None = None
    team_id: str | None = None
    visibility: Visibility = "private"
    committed_at: datetime | None = None
    concluded_at: datetime | None = None
    takeaways_id: str | None = None
    retraction: Retraction | None = None
    variations: int = 0


@dataclass(frozen=True, slots=True)
class Variation:
    """A row of the table of variations. `runs` counts its runs."""

    experiment_id: str
    number: int
    state: VariationState
    name: str
    created_at: datetime
    created_by: str
    description: str = ""
    hypothesis: str = ""
    git_ref: str = ""
    config_yaml: str = ""
    committed_at: datetime | None = None
    retraction: Retraction | None = None
    runs: int = 0
    request_digest: str = ""

    @property
    def id(self) -> str:
        """What errors call it."""
        return f"{self.experiment_id}/{self.number}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What somebody noted that an experiment found."""

    id: str
    experiment_id: str
    status: FindingStatus
    summary: str
    created_by: str
    created_at: datetime
    variation: int | None = None
    source_asset_id: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """An asset of a reserved type that a rule asks for. `awaits`: somebody has to approve it."""

    asset_id: str
    asset_type: str
    ready: bool
    awaits: bool = False
    invalidated: bool = False

    @property
    def counts(self) -> bool:
        """Whether a rule is met by it."""
        return self.ready and not self.invalidated


@dataclass(frozen=True, slots=True)
class Committed:
    """What committing comes to: the row, the parents that stay, and those that go."""

    experiment: Experiment
    promoted: Sequence[str] = field(default=())
    dropped: Sequence[str] = field(default=())


def require(experiment: Experiment, deed: Deed) -> Experiment:
    """Answer the experiment. Raises `ExperimentStateError` where its state does not allow it."""
    states, mend = _ALLOWED[deed]
    if experiment.state not in states:
        raise ExperimentStateError(experiment.id, experiment.state, mend)
    return experiment


def require_standing(experiment: Experiment, mend: str) -> Experiment:
    """Answer the experiment. Raises `ExperimentRetractedError`."""
    if experiment.retraction is not None:
        raise ExperimentRetractedError(experiment.id, experiment.retraction.reason, mend)
    return experiment


def committed(
    experiment: Experiment,
    reports: Sequence[Report],
    parents: Sequence[Parent],
    resolution: Mapping[str, str],
    now: datetime,
) -> Committed:
    """The experiment with what is believed fixed; one that is committed stays as it is.

    Raises `ExperimentStateError` without a hypothesis_report that counts, and while a tentative
    parent is not decided; `InvalidFieldError` for a decision that is none, or of no such parent.
    """
    if experiment.state != "open":
        return Committed(experiment)
    _require_report(experiment, reports, HYPOTHESIS, "link one as an input")
    tentative = [each.id for each in parents if each.tentative]
    for parent, said in resolution.items():
        if parent not in tentative:
            raise InvalidFieldError(
                f"tentative_links.{parent[:80]}", "is no tentative parent", "leave it out"
            )
        if said not in ("promote", "drop"):
            raise InvalidFieldError(
                f"tentative_links.{parent}", f"is {said[:80]!r}", "give promote or drop"
            )
    if undecided := [each for each in tentative if each not in resolution]:
        raise ExperimentStateError(
            experiment.id,
            experiment.state,
            "give tentative_links: promote or drop for each",
            problem=f"with parents that are not decided: {', '.join(undecided)}",
        )
    return Committed(
        replace(_moved(experiment, "committed", now), committed_at=now),
        [each for each in tentative if resolution[each] == "promote"],
        [each for each in tentative if resolution[each] == "drop"],
    )


def concluded(
    experiment: Experiment, reports: Sequence[Report], on_exist: str, now: datetime
) -> Experiment:
    """The experiment with its takeaways, the newest of `reports` that counts.

    Raises `ExperimentStateError`; `AlreadyConcludedError` for one that is concluded where nothing
    is said of that; `InvalidFieldError`.
    """
    if on_exist not in ("", "keep", "regenerate"):
        raise InvalidFieldError(
            "on_exist_action", f"is {on_exist[:80]!r}", "give keep or regenerate, or leave it out"
        )
    require(experiment, "conclude")
    if experiment.state == "concluded" and on_exist == "keep":
        return experiment
    if experiment.state == "concluded" and not on_exist:
        raise AlreadyConcludedError(experiment.id, experiment.takeaways_id or "")
    report = _require_report(
        experiment, reports, TAKEAWAYS, "upload one as an output, and let it be approved"
    )
    if experiment.state == "concluded":
        return replace(experiment, takeaways_id=report.asset_id, updated_at=now)
    moved = _moved(experiment, "concluded", now)
    return replace(moved, takeaways_id=report.asset_id, concluded_at=now)


def retracted(
    experiment: Experiment, reason: str, by: str, document_id: str | None, now: datetime
) -> Experiment:
    """The experiment, taken back; a repeat replaces the reason, and keeps when it was.

    Raises `ExperimentStateError` for an open one.
    """
    require(experiment, "retract")
    return replace(
        experiment, retraction=_taken_back(experiment.retraction, reason, by, document_id, now)
    )


def variation_retracted(variation: Variation, reason: str, by: str, now: datetime) -> Variation:
    """The variation, taken back. Raises `ExperimentStateError` for an open one."""
    if variation.state == "open":
        raise ExperimentStateError(
            variation.experiment_id,
            "open",
            "delete the experiment",
            f"the variation {variation.id}",
        )
    return replace(variation, retraction=_taken_back(variation.retraction, reason, by, None, now))


def require_open(variation: Variation) -> Variation:
    """Answer the variation. Raises `ExperimentStateError` where its inputs are fixed."""
    if variation.state != "open":
        raise ExperimentStateError(
            variation.experiment_id,
            variation.state,
            "its inputs are fixed; add another variation",
            f"the variation {variation.id}",
        )
    return variation


def moved_to(
    experiment: Experiment,
    organization_id: str,
    team_id: str | None,
    visibility: Visibility,
    now: datetime,
) -> Experiment:
    """The experiment of an organisation. Raises `ExperimentStateError` where it has one."""
    if experiment.organization_id is not None:
        same = (organization_id, team_id) == (experiment.organization_id, experiment.team_id)
        if same and visibility == experiment.visibility:
            return experiment
        raise ExperimentStateError(
            experiment.id,
            experiment.state,
            "only an experiment of one's own can be moved",
            problem=f"and owned by the organization {experiment.organization_id}",
        )
    return replace(
        experiment,
        organization_id=organization_id,
        team_id=team_id,
        visibility=visibility,
        updated_at=now,
    )


def _require_report(
    experiment: Experiment, reports: Sequence[Report], kind: str, mend: str
) -> Report:
    known = [each for each in reports if each.asset_type == kind]
    if good := [each for each in known if each.counts]:
        return good[-1]
    if waiting := [each.asset_id for each in known if each.awaits]:
        mend = f"approve {waiting[-1]}"
    problem = f"without a {kind} that is ready"
    raise ExperimentStateError(experiment.id, experiment.state, mend, problem=problem)


def _taken_back(
    before: Retraction | None, reason: str, by: str, document_id: str | None, now: datetime
) -> Retraction:
    if before is None:
        return Retraction(reason, by, now, document_id)
    return replace(before, reason=reason, by=by, document_id=document_id or before.document_id)


def _moved(experiment: Experiment, state: State, now: datetime) -> Experiment:
    if state not in _NEXT[experiment.state]:
        raise ExperimentStateError(experiment.id, experiment.state, f"it cannot become {state}")
    return replace(experiment, state=state, updated_at=now)


def variation_gone(variation: Variation) -> ExperimentStateError:
    """What is raised of a variation that was taken back."""
    return ExperimentStateError(
        variation.experiment_id,
        "retracted",
        "add another variation",
        f"the variation {variation.id}",
    )
