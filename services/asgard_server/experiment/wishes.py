"""What is asked for: new experiments and variations, changes of them, findings. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast, get_args

import orjson
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.ids import check_id, new_id

from asgard_server.experiment.domain import (
    Experiment,
    Finding,
    FindingStatus,
    Parent,
    Variation,
    require,
)

TITLE_CHARS = 500
TEXT_CHARS = 200_000
SUMMARY_CHARS = 10_000
REASON_CHARS = 10_000
WORKER_CHARS = 200
PARENTS = 100
AT_ONCE = 1_000
_TITLE_FROM_SUMMARY = 120


@dataclass(frozen=True, slots=True)
class Asked:
    """An experiment that is asked for. Whose it is to be is as the caller names it."""

    experiment: Experiment
    parents: tuple[Parent, ...] = ()
    allow_retracted_parent: bool = False
    organization: str = ""
    team: str = ""
    visibility: str = ""


@dataclass(frozen=True, slots=True)
class NewVariation:
    """A variation that is asked for. `number` None: the next one."""

    name: str = ""
    description: str = ""
    hypothesis: str = ""
    git_ref: str = ""
    config_yaml: str = ""
    inputs: tuple[str, ...] = ()
    allow_invalid: bool = False
    number: int | None = None

    @property
    def digest(self) -> str:
        """What tells a repeat from another request under the same number."""
        return _digest(
            [self.name, self.description, self.hypothesis, self.git_ref, self.config_yaml],
            sorted(self.inputs),
        )


def experiment(
    texts: Mapping[str, str],
    id: str,
    parents: Sequence[Parent],
    by: str,
    now: datetime,
    **owner: Any,
) -> Asked:
    """An experiment as it is asked for; `texts` by the names of fields.

    Raises `InvalidFieldError`.
    """
    checked = {name: _field(name, text) for name, text in texts.items()}
    if not checked["hypothesis_summary"].strip():
        raise InvalidFieldError("hypothesis_summary", "is blank", "say what is believed")
    title = checked.pop("title").strip() or _short(checked["hypothesis_summary"])
    known = _parents(parents)
    made = Experiment(
        id=check_id(id, "experiment_id") if id else new_id(now),
        state="open",
        title=title,
        created_at=now,
        updated_at=now,
        created_by=by,
        request_digest=_digest(
            *([checked[name] for name in sorted(checked)], title),
            *([[each.id, each.tentative] for each in known], sorted(owner.items())),
        ),
        **cast(Any, checked),
    )
    return Asked(experiment=made, parents=known, **owner)


def edited(before: Experiment, texts: Mapping[str, str], now: datetime) -> Experiment:
    """The experiment with other texts. Raises `InvalidFieldError`, `ExperimentStateError`."""
    checked = {name: _field(name, text) for name, text in texts.items()}
    for name in ("title", "hypothesis_summary"):
        if name in checked and not checked[name].strip():
            raise InvalidFieldError(name, "is blank", "say something, or leave it out")
    changed = {name: text for name, text in checked.items() if getattr(before, name) != text}
    if changed.keys() - {"title", "description"}:
        require(before, "edit")
    return replace(before, **cast(Any, changed), updated_at=now) if changed else before


def parents(known: Sequence[Parent], own: str) -> tuple[Parent, ...]:
    """Parents of an experiment, checked. Raises `InvalidFieldError`."""
    if any(each.id == own for each in known):
        raise InvalidFieldError(
            "parent_experiment_ids", "name the experiment itself", "leave it out"
        )
    return _parents(known)


def variation(wish: NewVariation, into: Experiment, by: str, now: datetime) -> Variation:
    """A variation as it is asked for. Raises `InvalidFieldError`."""
    number = into.variations if wish.number is None else wish.number
    if number != into.variations:
        raise InvalidFieldError(
            "variation", f"is {number}", f"the next one is {into.variations}; or leave it out"
        )
    return Variation(
        experiment_id=into.id,
        number=number,
        state="open",
        name=_line(wish.name, "name", TITLE_CHARS) or f"variation {number}",
        created_at=now,
        created_by=by,
        description=text(wish.description, "description"),
        hypothesis=text(wish.hypothesis, "hypothesis"),
        git_ref=_line(wish.git_ref, "git_ref", TITLE_CHARS),
        config_yaml=text(wish.config_yaml, "config_yaml"),
        request_digest=wish.digest,
    )


def finding(
    into: Experiment, status: str, summary: str, variation: int | None, source: str | None,
    by: str, now: datetime,
) -> Finding:  # fmt: skip
    """What somebody found. Raises `InvalidFieldError`, `ExperimentStateError`."""
    require(into, "find")
    if status not in get_args(FindingStatus):
        raise InvalidFieldError(
            "status", f"is {status[:80]!r}", "give working, partial or not_working"
        )
    if variation is not None and not 0 <= variation < into.variations:
        raise InvalidFieldError(
            "evidence_variation", f"is {variation}", f"give 0 to {into.variations - 1}"
        )
    return Finding(
        id=new_id(now),
        experiment_id=into.id,
        status=cast(FindingStatus, status),
        summary=said(summary, "summary", SUMMARY_CHARS),
        created_by=by,
        created_at=now,
        variation=variation,
        source_asset_id=source,
    )


def reason(told: str) -> str:
    """Why something is taken back. Raises `InvalidFieldError` for a blank one."""
    return said(told, "reason", REASON_CHARS)


def said(told: str, name: str, most: int) -> str:
    """A text that must not be blank. Raises `InvalidFieldError`."""
    if not told.strip():
        raise InvalidFieldError(name, "is blank", "say something")
    return text(told, name, most)


def text(told: str, name: str, most: int = TEXT_CHARS) -> str:
    """A text. Raises `InvalidFieldError` for one that is too long, or has a NUL."""
    if "\0" in told:
        raise InvalidFieldError(name, "contains a NUL character", "leave it out")
    if len(told) > most:
        raise InvalidFieldError(name, f"has {len(told):,} characters", f"give at most {most:,}")
    return told


def worker(name: str) -> str:
    """What a worker calls itself. Raises `InvalidFieldError`."""
    return _line(name, "worker", WORKER_CHARS)


def asset_ids(ids: Sequence[str], name: str = "asset_ids", *, least: int = 1) -> list[str]:
    """Assets that are named, each once, in the order of their ids. Raises `InvalidFieldError`."""
    if not least <= len(ids) <= AT_ONCE:
        raise InvalidFieldError(
            name, f"names {len(ids):,} assets", f"name {least or 'none'} to {AT_ONCE:,} at once"
        )
    return sorted({check_id(each, name) for each in ids})


def _parents(known: Sequence[Parent]) -> tuple[Parent, ...]:
    if len(known) > PARENTS:
        raise InvalidFieldError(
            "parent_experiment_ids", f"are {len(known):,}", f"give at most {PARENTS}"
        )
    if len({each.id for each in known}) < len(known):
        raise InvalidFieldError("parent_experiment_ids", "name one twice", "name each once")
    return tuple(
        Parent(check_id(each.id, "parent_experiment_ids"), each.tentative) for each in known
    )


def _field(name: str, told: str) -> str:
    if name == "title":
        return _line(told, name, TITLE_CHARS)
    return text(told, name, SUMMARY_CHARS if name == "hypothesis_summary" else TEXT_CHARS)


def _line(told: str, name: str, most: int) -> str:
    if told and not told.isprintable():
        raise InvalidFieldError(
            name, "holds a line break or another control character", "keep it to one line of text"
        )
    return text(told, name, most)


def _short(summary: str) -> str:
    """The beginning of a summary as one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in summary).split())
    if len(line) <= _TITLE_FROM_SUMMARY:
        return line
    return f"{line[:_TITLE_FROM_SUMMARY].rstrip()}..."


def _digest(*parts: Iterable[Any]) -> str:
    return hashlib.sha256(orjson.dumps([list(part) for part in parts])).hexdigest()
