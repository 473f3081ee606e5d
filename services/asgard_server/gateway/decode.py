"""JSON to messages: one decoder per message type, compiled once from its descriptor.

Strict: an unknown field, a wrong type or a doubled key is an error that names the
field by its path in the request.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from asgard_server.gateway import scalars, schema
from asgard_server.gateway.problems import Problem, invalid
from asgard_server.gateway.scalars import Refused
from asgard_server.gateway.split import Malformed, Raw, Shape, split

WELL_KNOWN: dict[str, Callable[[object, Any], None]] = {
    "google.protobuf.Timestamp": scalars.read_time,
    "google.protobuf.Duration": scalars.read_duration,
    "google.protobuf.FieldMask": scalars.read_mask,
}


class Decoders:
    """All decoders made so far, by message type."""

    def __init__(self) -> None:
        self._made: dict[str, Decoder] = {}

    def of(self, descriptor: Descriptor) -> Decoder:
        """Decoder of a message type."""
        made = self._made.get(descriptor.full_name)
        if made is None:
            made = self._made[descriptor.full_name] = Decoder(descriptor)
            made.compile(self)
        return made


class Decoder:
    """Reads messages of one type."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.make: Callable[[], Message] = GetMessageClass(descriptor)
        self.fields: dict[str, Field] = {}

    def compile(self, decoders: Decoders) -> None:
        """Make the fields; apart from the constructor, because types may contain themselves."""
        for field in self.descriptor.fields:
            self.fields[schema.json_name(field)] = Field(field, decoders)

    def inner(self, key: str) -> Shape | None:
        """Shape of a field's object (see `split.Shape`)."""
        field = self.fields.get(key)
        return field.message if field is not None and not field.is_map else None

    def raw(self, key: str) -> bool:
        """Say whether a field is cut out as text (see `split.Shape`)."""
        field = self.fields.get(key)
        return field is not None and field.is_json

    def read(self, body: bytes) -> Message:
        """Read a whole body. Raises `Problem` 400."""
        message = self.make()
        self.merge(self.parse(body), message, "")
        return message

    def parse(self, body: bytes) -> Any:
        """Parse a body without looking at fields. Raises `Problem` 400."""
        try:
            return split(body, self)
        except Malformed as error:
            raise malformed(str(error)) from error

    def merge(self, value: object, message: Message, path: str) -> None:
        """Put a JSON object's fields into a message. Raises `Problem` 400."""
        if not isinstance(value, dict):
            where = path or "the body"
            raise invalid(path, f"{where} must be a JSON object, not {scalars.described(value)}")
        for key, inner in value.items():
            field = self.fields.get(key)
            here = f"{path}.{key}" if path else key
            if field is None:
                raise invalid(here, self._unknown(key))
            if inner is not None:
                field.put(inner, message, here)

    def _unknown(self, key: str) -> str:
        for name, field in self.fields.items():
            if key in (field.name, field.descriptor.json_name):
                return f"is unknown; it is called {name!r} here"
        near = difflib.get_close_matches(key, self.fields, 1)
        if near:
            return f"is unknown; did you mean {near[0]!r}?"
        return f"is unknown; known are {', '.join(self.fields) or 'none'}"


class Field:
    """One field of a decoder."""

    def __init__(self, field: F, decoders: Decoders) -> None:
        self.descriptor = field
        self.name = field.name
        self.kind = field.type
        self.is_json = field.type == F.TYPE_BYTES and schema.is_json(field)
        message = field.message_type
        self.is_map = message is not None and message.GetOptions().map_entry
        self.is_list = field.is_repeated and not self.is_map
        self.well_known = WELL_KNOWN.get(message.full_name) if message is not None else None
        self.message: Decoder | None = None
        if message is not None and not self.is_map and self.well_known is None:
            self.message = decoders.of(message)
        if message is not None and self.is_map:
            self.key = Field(message.fields_by_name["key"], decoders)
            self.value = Field(message.fields_by_name["value"], decoders)
        elif message is None:
            self.read = _reader(field)

    def put(self, value: object, message: Message, path: str) -> None:
        """Set the field of a message. Raises `Problem` 400."""
        if self.is_map:
            self._put_map(value, getattr(message, self.name), path)
        elif self.is_list:
            if not isinstance(value, list):
                raise invalid(path, f"must be a list, not {scalars.described(value)}")
            held = getattr(message, self.name)
            for i, one in enumerate(value):
                here = f"{path}[{i}]"
                if self.kind == F.TYPE_MESSAGE:
                    self._fill(one, held.add(), here)
                else:
                    held.append(self._scalar(one, here))
        elif self.kind == F.TYPE_MESSAGE:
            self._alone(message, path)
            inner = getattr(message, self.name)
            inner.SetInParent()
            self._fill(value, inner, path)
        else:
            self._alone(message, path)
            setattr(message, self.name, self._scalar(value, path))

    def _alone(self, message: Message, path: str) -> None:
        """Refuse a second alternative of a oneof."""
        if schema.in_oneof(self.descriptor):
            oneof = self.descriptor.containing_oneof
            other = message.WhichOneof(oneof.name) if oneof is not None else None
            if other is not None and other != self.name:
                raise invalid(path, f"excludes {other}; give one of them")

    def _put_map(self, value: object, held: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(path, f"must be an object, not {scalars.described(value)}")
        for text, one in value.items():
            here = f"{path}.{text}"
            try:
                key = self.key.read(scalars.from_query(self.key.kind, text))
            except Refused as error:
                raise invalid(here, f"its key {error}") from error
            if self.value.kind == F.TYPE_MESSAGE:
                self.value._fill(one, held[key], here)
            else:
                held[key] = self.value._scalar(one, here)

    def _fill(self, value: object, message: Message, path: str) -> None:
        if self.message is not None:
            self.message.merge(value, message, path)
        elif self.well_known is not None:
            try:
                self.well_known(value, message)
            except Refused as error:
                raise invalid(path, str(error)) from error

    def _scalar(self, value: object, path: str) -> Any:
        try:
            return self.read(value)
        except Refused as error:
            raise invalid(path, str(error)) from error


def _reader(field: F) -> Callable[[object], Any]:
    if field.type in scalars.INTEGERS:
        return scalars.integer_reader(field.type)
    if field.type == F.TYPE_ENUM:
        return _enum_reader(field)
    if field.type == F.TYPE_BYTES and schema.is_json(field):
        return _read_raw
    return {
        F.TYPE_DOUBLE: scalars.read_float,
        F.TYPE_FLOAT: scalars.read_float32,
        F.TYPE_BOOL: scalars.read_bool,
        F.TYPE_BYTES: scalars.read_bytes,
        F.TYPE_STRING: scalars.read_text,
    }[field.type]


def _enum_reader(field: F) -> Callable[[object], int]:
    numbers = {
        word: n for n, word in schema.words(schema.enum_of(field)).items() if word is not None
    }

    def read(value: object) -> int:
        number = numbers.get(value) if isinstance(value, str) else None
        if number is None:
            raise Refused(f"must be one of {', '.join(numbers)}, not {scalars.described(value)}")
        return number

    return read


def _read_raw(value: object) -> bytes:
    return value.text if isinstance(value, Raw) else orjson.dumps(value)


def malformed(detail: str) -> Problem:
    """Refuse a body that is not JSON."""
    return Problem(400, detail, "INVALID_ARGUMENT", "MALFORMED_BODY")
