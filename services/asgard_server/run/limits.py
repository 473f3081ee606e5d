"""What every field of a run or a result may say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gimle.asgard.core.errors import InvalidFieldError

# Limits, in characters unless named otherwise. What they keep out is a mistake
# (a whole log as a tag) or belongs elsewhere (numbers into arrays).
NAME_LIMIT = 500
TEXT_LIMIT = 200_000
NOTE_LIMIT = 1_000_000
TAG_LIMIT = 100
TAGS_LIMIT = 100
TYPE_LIMIT = 200
QUERY_LIMIT = 1_000
ARRAYS_LIMIT = 1_000
BATCH_LIMIT = 1_000
METADATA_LIMIT_BYTES = 1_048_576
DATA_LIMIT_BYTES = 16_777_216

# The fields UpdateRun may change.
CHANGEABLE = ("name", "equation", "circuit", "metadata", "tags", "note")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def run_name(text: str, at: str = "") -> str:
    """Check the name of a run: 1 to 500 characters of one line, not all of them blank."""
    return checked_word(text, f"{at}name", NAME_LIMIT)


def run_tags(tags: Sequence[str], at: str = "") -> tuple[str, ...]:
    """Check tags: at most 100, each 1 to 100 characters of one line, none twice."""
    if len(tags) > TAGS_LIMIT:
        raise InvalidFieldError(f"{at}tags", f"are {len(tags):,}", f"keep at most {TAGS_LIMIT}")
    checked = tuple(
        checked_word(tag, f"{at}tags[{place}]", TAG_LIMIT) for place, tag in enumerate(tags)
    )
    if len(set(checked)) < len(checked):
        raise InvalidFieldError(f"{at}tags", "say the same tag twice", "say each tag once")
    return checked


def run_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check new values of a run's fields. Raises `InvalidFieldError`."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in CHANGEABLE:
            raise InvalidFieldError(
                "update_mask", f"names {name!r}", f"name any of {', '.join(CHANGEABLE)}"
            )
        if name == "name":
            checked[name] = run_name(value or "")
        elif name == "tags":
            checked[name] = run_tags(value)
        elif name == "metadata":
            checked[name] = value
        else:
            checked[name] = checked_text(value, name, NOTE_LIMIT if name == "note" else TEXT_LIMIT)
    return checked


def append_length(at: int | None) -> int | None:
    """Check the length an append expects."""
    if at is not None and at < 0:
        raise InvalidFieldError("expected_length", f"is {at}", "count rows from 0")
    return at


def search_text(query: str) -> str:
    """Check the free text of a list."""
    return checked_text(query, "query", QUERY_LIMIT) or ""


def checked_moment(moment: datetime | None, name: str) -> datetime | None:
    """Check a time: from 1970 to 9998."""
    if moment is not None and not EPOCH <= moment < _LATEST:
        raise InvalidFieldError(name, f"is {moment.isoformat()}", "say a time from 1970 to 9998")
    return moment


def checked_text(text: str | None, name: str, limit: int) -> str | None:
    """Check a text of any lines."""
    if text is not None and len(text) > limit:
        raise InvalidFieldError(
            name, f"has {len(text):,} characters", f"keep it to {limit:,} characters"
        )
    if text is not None and "\0" in text:
        raise InvalidFieldError(name, "holds a NUL character", "leave it out")
    return text


def checked_word(text: str, name: str, limit: int) -> str:
    """Check a text of one line that is not blank."""
    if not text.strip():
        raise InvalidFieldError(name, "is empty", f"say 1 to {limit} characters")
    if not text.isprintable():
        raise InvalidFieldError(
            name, "holds a line break or another control character", "keep it to one line of text"
        )
    checked = checked_text(text, name, limit)
    assert checked is not None  # noqa: S101 - only None goes in as None
    return checked
