"""Messages to JSON: one encoder per message type, compiled once from its descriptor.

The shape is that of stored documents: names by `schema.json_name`, defaults
printed, absent optional fields and messages null (alternatives of a oneof are
left out instead), enums as lower-case words, `json` bytes spliced in unparsed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message

from asgard_server.gateway import scalars, schema

Shown = Callable[[Any], Any]

WELL_KNOWN: dict[str, Shown] = {
    "google.protobuf.Timestamp": scalars.shown_time,
    "google.protobuf.Duration": scalars.shown_duration,
    "google.protobuf.FieldMask": scalars.shown_mask,
}
# Messages of other packages that have a JSON form of their own, which we do not speak.
REFUSED = frozenset({"Any", "Struct", "Value", "ListValue"})


class Encoders:
    """All encoders made so far, by message type."""

    def __init__(self) -> None:
        self._made: dict[str, Encoder] = {}

    def of(self, descriptor: Descriptor) -> Encoder:
        """Encoder of a message type. Raises `TypeError` for a type without a JSON form here."""
        made = self._made.get(descriptor.full_name)
        if made is None:
            made = self._made[descriptor.full_name] = Encoder()
            made.compile(descriptor, self)
        return made

    def only(self, descriptor: Descriptor, names: Collection[str]) -> Encoder:
        """Encoder of some fields of a type, by their JSON names, in the order of the names."""
        made = Encoder()
        made.compile(descriptor, self)
        made.select(names)
        return made


class Encoder:
    """Turns messages of one type into what `orjson.dumps` takes."""

    __slots__ = ("_plan",)

    def __init__(self) -> None:
        # (name in JSON, attribute, how to show it, has presence, left out when absent)
        self._plan: list[tuple[str, str, Shown | None, bool, bool]] = []

    def compile(self, descriptor: Descriptor, encoders: Encoders) -> None:
        """Make the plan; apart from the constructor, because types may contain themselves."""
        if descriptor.file.package == "google.protobuf" and descriptor.name in REFUSED:
            raise TypeError(f"{descriptor.full_name} has no JSON form in this gateway")
        for field in descriptor.fields:
            self._plan.append(
                (
                    schema.json_name(field),
                    field.name,
                    _shown(field, encoders),
                    field.has_presence,
                    schema.in_oneof(field),
                )
            )

    def select(self, names: Collection[str]) -> None:
        """Keep some fields, in the order given. Raises `KeyError` for an unknown one."""
        by_name = {entry[0]: entry for entry in self._plan}
        self._plan = [by_name[name] for name in names]

    def __call__(self, message: Message) -> dict[str, Any]:
        """Show a message. The dict may hold `orjson.Fragment`s."""
        shown: dict[str, Any] = {}
        for name, attribute, show, presence, alternative in self._plan:
            if presence and not message.HasField(attribute):
                if not alternative:
                    shown[name] = None
                continue
            value = getattr(message, attribute)
            shown[name] = value if show is None else show(value)
        return shown


def _shown(field: F, encoders: Encoders) -> Shown | None:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = message.fields_by_name["key"], message.fields_by_name["value"]
        return _map_shown(key, _shown_one(value, encoders))
    one = _shown_one(field, encoders)
    if not field.is_repeated:
        return one
    if one is None:
        return list
    return lambda values: [one(value) for value in values]


def _map_shown(key: F, one: Shown | None) -> Shown:
    # A map has no order of its own: answers are the same each time by the order of the keys.
    name: Callable[[Any], str] = (
        (lambda k: "true" if k else "false") if key.type == F.TYPE_BOOL else str
    )
    if one is None:
        return lambda entries: {name(k): entries[k] for k in sorted(entries)}
    return lambda entries: {name(k): one(entries[k]) for k in sorted(entries)}


def _shown_one(field: F, encoders: Encoders) -> Shown | None:
    kind = field.type
    if kind == F.TYPE_MESSAGE:
        message = schema.message_of(field)
        known = WELL_KNOWN.get(message.full_name)
        return known if known is not None else encoders.of(message)
    if kind == F.TYPE_ENUM:
        return schema.words(schema.enum_of(field)).get
    if kind == F.TYPE_BYTES:
        return spliced if schema.is_json(field) else scalars.shown_bytes
    if kind in scalars.WIDE:
        return scalars.shown_wide
    if kind == F.TYPE_DOUBLE:
        return scalars.shown_float
    if kind == F.TYPE_FLOAT:
        return scalars.shown_float32
    return None


def spliced(text: bytes) -> orjson.Fragment | None:
    """Put JSON into JSON without parsing it; nothing is null."""
    return orjson.Fragment(text) if text else None
