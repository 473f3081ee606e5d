"""The rules of the fields that an author gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from gimle.asgard.core.errors import InvalidFieldError

FINISHED = ("succeeded", "failed", "failed_crash", "failed_abandoned", "failed_lost")
STATUSES = ("pending", "running", *FINISHED)
VISIBILITIES = ("private", "org_public", "public")


class Unchanged(Enum):
    """Stands for a field that is to stay as it is, where None means none."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


def checked(**given: Any) -> dict[str, Any]:
    """Check the fields of a run that are given. Raises InvalidFieldError, which names one."""
    return {
        field: _RULES[field](field, value)
        for field, value in given.items()
        if value is not UNCHANGED
    }


def text(field: str, value: Any) -> str:
    """Check a text that must be there."""
    if not isinstance(value, str):
        raise InvalidFieldError(field, f"is a {type(value).__name__}, not text", "give text")
    if not value.strip():
        raise InvalidFieldError(field, "is empty", "give it a name")
    return value


def mapping(field: str, value: Any) -> dict[str, Any]:
    """Check an object of fields."""
    if not isinstance(value, Mapping):
        raise InvalidFieldError(
            field, f"is a {type(value).__name__}, not a dict", 'give a dict like {"x": ...}'
        )
    return dict(value)


def check_status(status: str, *, finished: bool = False) -> str:
    """Check how a run stands."""
    known = FINISHED if finished else STATUSES
    if status not in known:
        raise InvalidFieldError(
            "status", f"{status!r} is not known", f"use one of {', '.join(known)}"
        )
    return status


def moment(created_at: datetime | None) -> datetime:
    """A time in UTC; now when None. A naive one is local time, as Python has it."""
    if created_at is None:
        return datetime.now(UTC)
    if not isinstance(created_at, datetime):
        raise InvalidFieldError(
            "created_at", f"is a {type(created_at).__name__}, not a datetime", "give a datetime"
        )
    return created_at.astimezone(UTC)


def _optional_text(field: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InvalidFieldError(field, f"is a {type(value).__name__}, not text", "give text or None")


def _visibility(field: str, value: Any) -> str | None:
    text = _optional_text(field, value)
    if text is None or text in VISIBILITIES:
        return text
    raise InvalidFieldError(
        field, f"{text!r} is not known", f"use one of {', '.join(VISIBILITIES)}"
    )


def _tags(field: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidFieldError(field, f"{value!r} is not a list", "give a list of texts")
    return tuple(dict.fromkeys(text(field, tag) for tag in value))


def _optional_status(_field: str, value: Any) -> str | None:
    return None if value is None else check_status(value)


_RULES = {
    "name": text,
    "equation": _optional_text,
    "circuit": _optional_text,
    "metadata": mapping,
    "tags": _tags,
    "note": _optional_text,
    "status": _optional_status,
    "owner": _optional_text,
    "organization_id": _optional_text,
    "visibility": _visibility,
}
