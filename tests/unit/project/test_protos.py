"""The conventions of the protos that buf does not know."""

from __future__ import annotations

from importlib.resources import files

import pytest
from gimle.asgard.v1 import options_pb2
from google.api import (
    annotations_pb2,
    field_behavior_pb2,
)
from google.protobuf import descriptor_pb2

Field = descriptor_pb2.FieldDescriptorProto
REQUIRED = field_behavior_pb2.REQUIRED
BEHAVIOURS = {REQUIRED, field_behavior_pb2.OPTIONAL, field_behavior_pb2.OUTPUT_ONLY}
SET = descriptor_pb2.FileDescriptorSet.FromString(
    files("gimle.asgard.v1").joinpath("asgard.binpb").read_bytes()
)
OURS = [file for file in SET.file if file.package == "gimle.asgard.v1"]
SERVICES = [(file, service) for file in OURS for service in file.service]
METHODS = [
    pytest.param(file, service, method, id=f"{service.name}.{method.name}")
    for file, service in SERVICES
    for method in service.method
]
MESSAGES = {message.name: message for file in OURS for message in file.message_type}
Method = descriptor_pb2.MethodDescriptorProto
File = descriptor_pb2.FileDescriptorProto
Service = descriptor_pb2.ServiceDescriptorProto


def comment(file: File, *path: int) -> str:
    return next(
        (at.leading_comments for at in file.source_code_info.location if tuple(at.path) == path), ""
    )


def http(method: Method) -> tuple[str, str]:
    rule = method.options.Extensions[annotations_pb2.http]
    pattern = rule.WhichOneof("pattern")
    return pattern or "", getattr(rule, pattern) if pattern else ""


def fields(message: descriptor_pb2.DescriptorProto) -> list[Field]:
    return [*message.field, *(f for nested in message.nested_type for f in nested.field)]


def test_there_is_a_service_to_look_at() -> None:
    assert METHODS


@pytest.mark.parametrize(("file", "service", "method"), METHODS)
def test_every_rpc_has_its_own_request_and_response(
    file: File, service: Service, method: Method
) -> None:
    assert method.input_type == f".gimle.asgard.v1.{method.name}Request"
    assert method.output_type == f".gimle.asgard.v1.{method.name}Response"


@pytest.mark.parametrize(("file", "service", "method"), METHODS)
def test_every_rpc_has_an_address_of_its_own(file: File, service: Service, method: Method) -> None:
    at = (6, list(file.service).index(service), 2, list(service.method).index(method))
    if "Only over gRPC" in comment(file, *at):
        assert not http(method)[0]
        return
    assert http(method)[1].startswith("/v1/")
    everywhere = [http(m) for _, s in SERVICES for m in s.method]
    assert everywhere.count(http(method)) == 1


@pytest.mark.parametrize(("file", "service", "method"), METHODS)
def test_every_rpc_says_what_happens_when_the_thing_is_missing(
    file: File, service: Service, method: Method
) -> None:
    at = (6, list(file.service).index(service), 2, list(service.method).index(method))
    words = comment(file, *at)
    assert words.strip(), "no comment"
    request = MESSAGES[f"{method.name}Request"]
    behaviours = {f.name: behaviour(f) for f in request.field}
    needs_a_thing = any(behaviours.get(name) == [REQUIRED] for name in ("run_id", "result_id"))
    assert ("NOT_FOUND" in words) or not needs_a_thing


# What these answer is one thing with an end of its own (who may do what with one object, what lies
# upstream to a depth), or documented as a JSON array, whose pages go on behind an id ("after").
LISTS_OF_THEIR_OWN = {
    *("ListAccess", "ListExperimentAccess", "ListUpstreamRetractions"),
    *("ListExperimentOutputs", "ListExperimentInputs", "ListVariationInputs", "ListRunOutputs"),
}


@pytest.mark.parametrize(("file", "service", "method"), METHODS)
def test_every_list_has_pages(file: File, service: Service, method: Method) -> None:
    if not method.name.startswith("List") or method.name in LISTS_OF_THEIR_OWN:
        return
    asked = {f.name for f in MESSAGES[f"{method.name}Request"].field}
    answered = MESSAGES[f"{method.name}Response"].field
    assert {"page_size", "page_token"} <= asked
    assert "next_page_token" in {f.name for f in answered}
    assert answered[0].number == 1
    assert answered[0].label == Field.LABEL_REPEATED


def behaviour(field: Field) -> list[int]:
    return list(field.options.Extensions[field_behavior_pb2.field_behavior])


@pytest.mark.parametrize("name", [n for n in MESSAGES if not n.endswith("Response")])
def test_every_field_one_may_send_says_how_it_behaves(name: str) -> None:
    silent = [f.name for f in fields(MESSAGES[name]) if not set(behaviour(f)) & BEHAVIOURS]
    generated = {f"{e.name}" for e in MESSAGES[name].nested_type if e.options.map_entry}
    entries = {f.name for e in MESSAGES[name].nested_type if e.name in generated for f in e.field}
    assert set(silent) - entries == set()


@pytest.mark.parametrize("name", MESSAGES)
def test_times_lengths_and_json_are_named_and_typed_alike(name: str) -> None:
    for field in fields(MESSAGES[name]):
        is_time = field.type_name == ".google.protobuf.Timestamp"
        assert is_time == field.name.endswith("_time"), field.name
        if field.options.Extensions[options_pb2.json]:
            assert field.type == Field.TYPE_BYTES, field.name


def test_every_enum_begins_with_unspecified() -> None:
    nested = [e for m in MESSAGES.values() for e in m.enum_type]
    deeper = [e for m in MESSAGES.values() for n in m.nested_type for e in n.enum_type]
    top = [e for file in OURS for e in file.enum_type]
    for enum in [*nested, *deeper, *top]:
        assert (enum.value[0].number, enum.value[0].name[-12:]) == (0, "_UNSPECIFIED"), enum.name


def test_every_error_reason_is_explained() -> None:
    file = next(f for f in OURS if f.name.endswith("error_reason.proto"))
    reasons = file.enum_type[0]
    for place, value in enumerate(reasons.value):
        assert value.name.startswith("ERROR_REASON_")
        assert len(value.name.removeprefix("ERROR_REASON_")) <= 63
        if value.number:
            assert len(comment(file, 5, 0, 2, place).strip()) > 20, value.name
