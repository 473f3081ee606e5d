"""What the protos say: RPCs with their HTTP bindings, and the comments on everything."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from gimle.asgard.v1 import options_pb2
from google.api import annotations_pb2, field_behavior_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
)

_PACKAGE = "gimle.asgard.v1"
_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Binding:
    """One `google.api.http` rule: where an RPC is found over REST."""

    verb: str
    template: str
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Rpc:
    """A method that has at least one binding. `for_everybody`: nobody is asked who they are."""

    service: str
    name: str
    path: str
    input: Descriptor
    output: Descriptor
    streaming: bool
    bindings: tuple[Binding, ...]
    full_name: str
    for_everybody: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """All RPCs reachable over REST, and comments by full name (`pkg.Message.field`)."""

    rpcs: tuple[Rpc, ...]
    comments: Mapping[str, str]


def asgard_schema() -> Schema:
    """Read the descriptors that are committed beside the generated code."""
    descriptors = (files(_PACKAGE) / "asgard.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        # Generated modules first: a file is in the pool once, as they describe it.
        if file.package == _PACKAGE:
            importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return load(descriptors)


def load(descriptors: bytes) -> Schema:
    """Make a schema from a serialised FileDescriptorSet (with source info for comments).

    Raises `ValueError` for a rule that this gateway cannot serve.
    """
    pool = descriptor_pool.Default()
    comments: dict[str, str] = {}
    rpcs: list[Rpc] = []
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        _know(file)
        comments.update(_comments(file))
        for service in file.service:
            full = f"{file.package}.{service.name}"
            rpcs.extend(_rpcs(pool.FindServiceByName(full).methods, full))
    return Schema(tuple(rpcs), comments)


def _know(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Put a file into the default pool, unless it is there."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(file.name)
    except KeyError:
        bare = descriptor_pb2.FileDescriptorProto()
        bare.CopyFrom(file)
        bare.ClearField("source_code_info")
        pool.AddSerializedFile(bare.SerializeToString())


def _rpcs(methods: Sequence[MethodDescriptor], service: str) -> Iterator[Rpc]:
    for method in methods:
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        bindings = tuple(_bindings(rule, f"{service}.{method.name}"))
        if not bindings:
            continue
        if method.client_streaming:
            raise ValueError(f"{service}.{method.name}: a client stream has no HTTP form")
        yield Rpc(
            service=service,
            name=method.name,
            path=f"/{service}/{method.name}",
            input=method.input_type,
            output=method.output_type,
            streaming=method.server_streaming,
            bindings=bindings,
            full_name=f"{service}.{method.name}",
            for_everybody=method.GetOptions().Extensions[options_pb2.for_everybody],
        )


def _bindings(rule: http_pb2.HttpRule, where: str) -> Iterator[Binding]:
    pattern = rule.WhichOneof("pattern")
    if pattern is None:
        return
    if pattern not in _VERBS:
        raise ValueError(f"{where}: pattern {pattern!r} is not one of {', '.join(_VERBS)}")
    yield Binding(pattern.upper(), getattr(rule, pattern), rule.body, rule.response_body)
    for further in rule.additional_bindings:
        yield from _bindings(further, where)


def json_name(field: FieldDescriptor) -> str:
    """Name a field as documents and REST do."""
    renamed: str = field.GetOptions().Extensions[options_pb2.json_name_in_documents]
    return renamed or field.name


def is_json(field: FieldDescriptor) -> bool:
    """Say whether a bytes field carries one JSON value."""
    return bool(field.GetOptions().Extensions[options_pb2.json])


def behaves(field: FieldDescriptor, name: str) -> bool:
    """Say whether a field carries a `google.api.field_behavior`, for example REQUIRED."""
    wanted = field_behavior_pb2.FieldBehavior.Value(name)
    return wanted in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def message_of(field: FieldDescriptor) -> Descriptor:
    """Type of a message field."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} is not a message")
    return field.message_type


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """Type of an enum field."""
    if field.enum_type is None:
        raise TypeError(f"{field.full_name} is not an enum")
    return field.enum_type


def in_oneof(field: FieldDescriptor) -> bool:
    """Say whether a field is one of several alternatives (`optional` alone is not)."""
    oneof = field.containing_oneof
    return oneof is not None and oneof.name != f"_{field.name}"


def words(enum: EnumDescriptor) -> dict[int, str | None]:
    """Word of each enum number: lower case without prefix, None for unspecified."""
    snake = "".join(f"_{c}" if c.isupper() else c for c in enum.name).lstrip("_").upper()
    prefix = f"{snake}_"
    return {
        v.number: None if v.number == 0 else v.name.removeprefix(prefix).lower()
        for v in enum.values
    }


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names = dict(_paths(file))
    for location in file.source_code_info.location:
        name = names.get(tuple(location.path))
        text = location.leading_comments or location.trailing_comments
        if name and text:
            yield name, "\n".join(line.strip() for line in text.strip().splitlines())


def _paths(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Full names by their SourceCodeInfo path (numbers are those of descriptor.proto)."""
    for i, service in enumerate(file.service):
        full = f"{file.package}.{service.name}"
        yield (6, i), full
        for j, method in enumerate(service.method):
            yield (6, i, 2, j), f"{full}.{method.name}"
    for i, message in enumerate(file.message_type):
        yield from _message_paths(message, (4, i), file.package)
    for i, enum in enumerate(file.enum_type):
        yield from _enum_paths(enum, (5, i), file.package)


def _message_paths(
    message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], within: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    full = f"{within}.{message.name}"
    yield path, full
    for i, field in enumerate(message.field):
        yield (*path, 2, i), f"{full}.{field.name}"
    for i, nested in enumerate(message.nested_type):
        yield from _message_paths(nested, (*path, 3, i), full)
    for i, enum in enumerate(message.enum_type):
        yield from _enum_paths(enum, (*path, 4, i), full)


def _enum_paths(
    enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], within: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    full = f"{within}.{enum.name}"
    yield path, full
    for i, value in enumerate(enum.value):
        yield (*path, 2, i), f"{full}.{value.name}"
