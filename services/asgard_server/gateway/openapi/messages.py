"""JSON Schemas of messages: what `encode` prints, and what `decode` takes."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as F

from asgard_server.gateway import schema
from asgard_server.gateway.schema import Schema

Json = dict[str, Any]

# What an id is, wherever one is asked for (gimle.asgard.core.ids.check_id).
ID = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

# People and groups go by handles, too (`o/acme`), and a `sub` is what its provider makes it.
_NAMED = frozenset({"organization_id", "principal_id", "scope_id", "team_id", "user_id"})

_TIME: Json = {"type": "string", "format": "date-time"}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": _TIME,
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {
        "type": "string",
        "pattern": "^([A-Za-z_]\\w*(\\.[A-Za-z_]\\w*)*(,|$))*$",
        "description": "Field names separated by commas.",
    },
}
_NUMBER: Json = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_NARROW = {
    F.TYPE_INT32: (-(2**31), 2**31 - 1),
    F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    F.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    F.TYPE_UINT32: (0, 2**32 - 1),
    F.TYPE_FIXED32: (0, 2**32 - 1),
}
_UNSIGNED = (F.TYPE_UINT64, F.TYPE_FIXED64)
_DIGITS: Json = {"type": "string", "pattern": "^-?(0|[1-9][0-9]{0,18})$"}


class Messages:
    """Schemas by component name. A type that goes both ways has two: `Run` and `RunInput`."""

    def __init__(self, described: Schema) -> None:
        self._comments = described.comments
        self.components: dict[str, Json] = {}

    def output(self, descriptor: Descriptor) -> Json:
        """Refer to the schema of what an encoder prints."""
        name = self._name(descriptor)
        if name not in self.components:
            made: Json = {"type": "object"}
            self.components[name] = made  # before its fields: a type may contain itself
            made.update(self._described(descriptor.full_name))
            made["properties"] = {
                schema.json_name(f): self._field(f, takes=False) for f in descriptor.fields
            }
            made["required"] = [
                schema.json_name(f) for f in descriptor.fields if not schema.in_oneof(f)
            ]
        return {"$ref": f"#/components/schemas/{name}"}

    def input(self, descriptor: Descriptor, without: frozenset[str] = frozenset()) -> Json:
        """Refer to the schema of what a decoder takes, less some fields (proto names)."""
        name = self._name(descriptor)
        if not name.endswith("Request"):
            name += "Input"
        if name not in self.components:
            made: Json = {"type": "object"}
            self.components[name] = made  # before its fields: a type may contain itself
            made.update(self._described(descriptor.full_name))
            fields = [f for f in descriptor.fields if f.name not in without]
            made["properties"] = {
                schema.json_name(f): self._field(f, takes=True)
                for f in fields
                if not schema.behaves(f, "OUTPUT_ONLY")
            }
            required = [schema.json_name(f) for f in fields if schema.behaves(f, "REQUIRED")]
            if required:
                made["required"] = required
            made["additionalProperties"] = False
        return {"$ref": f"#/components/schemas/{name}"}

    def parameter(self, field: F) -> Json:
        """Schema of a field as a query parameter or path variable, never null."""
        one = self._one(field, takes=True)
        if field.type == F.TYPE_ENUM:
            one = {"type": "string", "enum": [w for w in one["enum"] if w is not None]}
        if field.type in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
            one = {"type": "number"}
        if field.type in (F.TYPE_INT64, *_UNSIGNED):
            one = one["anyOf"][0]
        return {"type": "array", "items": one} if field.is_repeated else one

    def comment(self, full_name: str) -> str:
        """Text that the protos say of something, empty when they say nothing."""
        return self._comments.get(full_name, "")

    def _described(self, full_name: str) -> Json:
        text = self.comment(full_name)
        return {"description": text} if text else {}

    def _name(self, descriptor: Descriptor) -> str:
        return descriptor.full_name.removeprefix(f"{descriptor.file.package}.").replace(".", "")

    def _field(self, field: F, *, takes: bool) -> Json:
        message = field.message_type
        nullable = field.has_presence
        if message is not None and message.GetOptions().map_entry:
            value = message.fields_by_name["value"]
            made: Json = {
                "type": "object",
                "additionalProperties": self._one(value, takes=takes),
            }
        elif field.is_repeated:
            made = {"type": "array", "items": self._one(field, takes=takes)}
        else:
            made = self._one(field, takes=takes)
        if takes:
            nullable = not schema.behaves(field, "REQUIRED")
        if nullable and not schema.in_oneof(field):
            made = _or_null(made)
        return {**made, **self._described(field.full_name)}

    def _one(self, field: F, *, takes: bool) -> Json:
        kind = field.type
        if kind == F.TYPE_MESSAGE:
            message = schema.message_of(field)
            known = _WELL_KNOWN.get(message.full_name)
            if known is not None:
                return dict(known)
            return self.input(message) if takes else self.output(message)
        if kind == F.TYPE_ENUM:
            words = schema.words(schema.enum_of(field)).values()
            return {"type": ["string", "null"], "enum": list(words)}
        if kind == F.TYPE_BYTES:
            return self._bytes(field)
        if kind in _NARROW:
            low, high = _NARROW[kind]
            return {"type": "integer", "format": "int32", "minimum": low, "maximum": high}
        if kind in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
            return dict(_NUMBER)
        if kind == F.TYPE_BOOL:
            return {"type": "boolean"}
        if kind == F.TYPE_STRING:
            if takes and field.name.endswith("_id") and field.name not in _NAMED:
                # One that may be left out is made by the service when it is empty, too.
                required = schema.behaves(field, "REQUIRED")
                return {"type": "string", "pattern": ID if required else f"^$|{ID}"}
            return {"type": "string"}
        low = 0 if kind in _UNSIGNED else -(2**63)
        high = 2**64 - 1 if kind in _UNSIGNED else 2**63 - 1
        number = {"type": "integer", "format": "int64", "minimum": low, "maximum": high}
        # Beyond 2^53 a JSON number is no longer exact for every reader: digits as text.
        return {"anyOf": [number, dict(_DIGITS)]}

    def _bytes(self, field: F) -> Json:
        if not schema.is_json(field):
            return {"type": "string", "contentEncoding": "base64"}
        # The protos say in words what kind of JSON a field holds.
        if self.comment(field.full_name).startswith("A JSON object"):
            return {"type": ["object", "null"]}
        return {}


def _or_null(made: Json) -> Json:
    kind = made.get("type")
    if isinstance(kind, str):
        return {**made, "type": [kind, "null"]}
    if kind is None and made:
        return {"anyOf": [made, {"type": "null"}]}
    return made
