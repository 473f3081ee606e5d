"""Messages as dictionaries, with the names and words that REST has."""

from __future__ import annotations

from typing import Any

from gimle.asgard.v1 import options_pb2
from google.protobuf.message import Message

__all__ = ["shown"]


def shown(message: Message) -> dict[str, Any]:
    """A message as REST shows it: absent fields are None."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name = field.GetOptions().Extensions[options_pb2.json_name_in_documents] or field.name
        value = getattr(message, field.name)
        if field.is_repeated:
            found[name] = [_value(field, each) for each in value]
        elif field.has_presence and not message.HasField(field.name):
            found[name] = None
        else:
            found[name] = _value(field, value)
    return found


def _value(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        word = str(field.enum_type.values_by_number[value].name)
        return word.removeprefix(_prefix(field.enum_type.name)).lower() if value else None
    if field.message_type is None:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return value.ToJsonString()
    return shown(value)


def _prefix(name: str) -> str:
    snake = "".join(f"_{each}" if each.isupper() else each for each in name)
    return f"{snake.lstrip('_').upper()}_"
