"""Fields that messages have in common: times, statuses, JSON in bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gimle.asgard.core import exact
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.run import limits

_EPOCH = limits.EPOCH
_STATUS_NAMES: Mapping[int, str] = {
    number: name.removeprefix("STATUS_").lower() for name, number in pb.Run.Status.items() if number
}
_STATUS_NUMBERS = {name: number for number, name in _STATUS_NAMES.items()}


def moment(message: Any, name: str, at: str = "") -> datetime | None:
    """The time in field `name` of a message, None when absent."""
    if not message.HasField(name):
        return None
    value = getattr(message, name)
    try:
        return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)
    except OverflowError:
        raise InvalidFieldError(
            f"{at}{name}", f"is {value.seconds} s from 1970", "say a time from 1970 to 9998"
        ) from None


def status_name(number: int, name: str = "status") -> str | None:
    """A status by its name in documents, None when unspecified."""
    if number and number not in _STATUS_NAMES:
        raise InvalidFieldError(name, f"is {number}", f"say one of {', '.join(_STATUS_NUMBERS)}")
    return _STATUS_NAMES.get(number)


def status_number(name: str | None) -> pb.Run.Status.ValueType:
    """A status by its number; unspecified for a word that run_service.proto does not know."""
    return pb.Run.Status.ValueType(_STATUS_NUMBERS.get(name or "", 0))


def json_object(
    body: bytes, name: str, limit: int, parse: Callable[[bytes], Any] = exact.loads
) -> dict[str, Any]:
    """Parse a JSON field. Empty bytes are an empty object."""
    if not body:
        return {}
    if len(body) > limit:
        raise InvalidFieldError(
            name,
            f"has {len(body):,} bytes",
            f"keep it to {limit:,} bytes; send numbers as arrays, not as JSON",
        )
    value = parsed(parse, body, name)
    if not isinstance(value, dict):
        raise InvalidFieldError(name, "is not a JSON object", 'give an object, as in {"key": 1}')
    if b'"$array"' in body:
        _refuse_references(value, name)
    return value


def _refuse_references(value: dict[str, Any], name: str) -> None:
    """A caller names no file of ours: an array comes with its elements, or beside the data."""
    from gimle.asgard.core.growth import references

    for ref in references(value):
        raise InvalidFieldError(
            name,
            f"refers to an array in the file {ref.path!r}",
            'give its elements: {"$array": [...], "dtype": ..., "shape": ...}',
        )


def parsed(parse: Callable[[Any], Any], body: Any, name: str) -> Any:
    """What `parse` makes of a field; InvalidFieldError where it raises ValueError."""
    try:
        return parse(body)
    except (ValueError, RecursionError) as error:
        raise InvalidFieldError(name, f"is not JSON: {error}", "give a JSON object") from None
