"""Query parameters into a message: names as in JSON, nested ones with dots, lists repeated."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message

from asgard_server.gateway import scalars
from asgard_server.gateway.decode import Decoder, Field
from asgard_server.gateway.problems import invalid


def parameters_of(decoder: Decoder, bound: Collection[str], prefix: str = "") -> dict[str, Field]:
    """Fields that may be given as query parameters, by parameter name.

    `bound` are the fields (proto names, dotted) that the path or the body gives.
    Lists of messages, maps and bytes have no query form.
    """
    found: dict[str, Field] = {}
    for name, field in decoder.fields.items():
        proto_path = f"{prefix}{field.name}"
        if proto_path in bound or field.is_map or field.kind == F.TYPE_BYTES:
            continue
        if field.message is not None:
            if not field.is_list and not prefix.count(".") > 3:
                inner = parameters_of(field.message, bound, f"{proto_path}.")
                found.update({f"{name}.{k}": v for k, v in inner.items()})
        else:
            found[name] = field
    return found


def apply(
    pairs: Iterable[tuple[str, str]],
    known: dict[str, Field],
    decoder: Decoder,
    message: Message,
) -> None:
    """Set fields from parameters. Raises `Problem` 400 that names the parameter."""
    gathered: dict[str, list[str]] = {}
    for name, text in pairs:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise invalid(name, f"is an unknown query parameter; known are {listed}")
        if "\0" in text:
            raise invalid(name, "contains a NUL character")
        gathered.setdefault(name, []).append(text)
    for name, texts in gathered.items():
        field = known[name]
        if len(texts) > 1 and not field.is_list:
            raise invalid(name, "is given more than once")
        values = [_value(field, text, name) for text in texts]
        within = _within(decoder, message, name)
        field.put(values if field.is_list else values[0], within, name)


def _value(field: Field, text: str, name: str) -> Any:
    if field.kind == F.TYPE_MESSAGE:
        return text  # a time, duration or mask: its reader takes text
    try:
        return scalars.from_query(field.kind, text)
    except scalars.Refused as error:
        raise invalid(name, str(error)) from error


def _within(decoder: Decoder, message: Message, name: str) -> Message:
    """Message that holds the field of a dotted name, made where it is missing."""
    *outer, _ = name.split(".")
    for step in outer:
        field = decoder.fields[step]
        message = getattr(message, field.name)
        message.SetInParent()
        assert field.message is not None, name  # noqa: S101  # parameters_of went this way
        decoder = field.message
    return message
