from __future__ import annotations

import json
import math
from time import perf_counter
from typing import Any

import orjson
import pytest
from asgard_server.gateway.decode import Decoders
from asgard_server.gateway.encode import Encoders
from asgard_server.gateway.problems import Problem
from gimle.asgard.v1 import run_service_pb2 as pb
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.toys import message


def shown(value: Any) -> Any:
    return orjson.loads(orjson.dumps(Encoders().of(value.DESCRIPTOR)(value)))


def read(name: str, body: bytes) -> Any:
    return Decoders().of(message(name).DESCRIPTOR).read(body)


def refused(name: str, body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        read(name, body)
    assert caught.value.status == 400
    return caught.value


def test_a_run_has_the_shape_of_its_document() -> None:
    run = pb.Run(
        run_id="r1",
        name="heat",
        metadata=b'{"n": 12345678901234567890123}',
        result_ids=["a"],
        status=pb.Run.STATUS_FAILED_CRASH,
        result_count=1,
    )
    run.create_time.FromJsonString("2026-11-21T08:30:00.120Z")
    text = orjson.dumps(Encoders().of(pb.Run.DESCRIPTOR)(run))
    assert b'"metadata":{"n": 12345678901234567890123}' in text, "spliced as it is"
    assert json.loads(text) == {
        "id": "r1",
        "name": "heat",
        "created_at": "2026-11-21T08:30:00.120Z",
        "updated_at": None,
        "equation": None,
        "circuit": None,
        "metadata": {"n": 12345678901234567890123},
        "results": ["a"],
        "tags": [],
        "note": None,
        "status": "failed_crash",
        "finished_at": None,
        "result_count": 1,
        "etag": "",
        "live": False,
        "owner": None,
        "organization_id": None,
        "visibility": None,
    }


def test_every_default_is_printed_and_absent_alternatives_are_left_out() -> None:
    assert shown(message("Toy")) == {
        "id": "",
        "kind": None,
        "big": 0,
        "bigger": 0,
        "small": 0,
        "weight": 0.0,
        "price": 0.0,
        "wound": False,
        "label": None,
        "paint": "",
        "story": None,
        "made_at": None,
        "play_time": None,
        "mask": None,
        "counts": {},
        "parts": {},
        "tags": [],
        "kinds": [],
        "age": None,
        "sizes": [],
        "inside": [],
    }
    assert shown(message("Toy", tin={}))["tin"] == {}


def test_integers_are_numbers_while_every_reader_holds_them_exactly() -> None:
    assert shown(message("Toy", big=2**53 - 1))["big"] == 2**53 - 1
    extremes = shown(message("Toy", big=-(2**63), bigger=2**64 - 1))
    assert (extremes["big"], extremes["bigger"]) == (str(-(2**63)), str(2**64 - 1))
    again = read("Toy", orjson.dumps({"big": str(-(2**63)), "bigger": str(2**64 - 1)}))
    assert (again.big, again.bigger) == (-(2**63), 2**64 - 1)


def test_floats_that_are_not_finite_are_words_and_come_back() -> None:
    toy = message("Toy", weight=math.nan, sizes=[math.inf, -math.inf], price=0.1)
    out = shown(toy)
    assert (out["weight"], out["sizes"], out["price"]) == ("NaN", ["Infinity", "-Infinity"], 0.1)
    again = read("Toy", orjson.dumps(out))
    assert math.isnan(again.weight)
    assert list(again.sizes) == [math.inf, -math.inf]
    assert again.price == toy.price


@pytest.mark.parametrize(
    ("given_time", "printed"),
    [
        ("2026-11-21T08:30:00Z", "2026-11-21T08:30:00Z"),
        ("2026-11-21t08:30:00.5z", "2026-11-21T08:30:00.500Z"),
        ("2026-11-21T10:30:00.000001+02:00", "2026-11-21T08:30:00.000001Z"),
        ("1969-12-31T23:59:59.123456789Z", "1969-12-31T23:59:59.123456789Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_rfc_3339_and_agree_with_protobuf(given_time: str, printed: str) -> None:
    toy = read("Toy", orjson.dumps({"made_at": given_time}))
    assert shown(toy)["made_at"] == printed
    assert toy.make_time.ToJsonString() == printed


@pytest.mark.parametrize(
    "wrong",
    ["2026-11-21", "2026-11-21T08:30:00", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+01:00",
     "2026-11-21T08:30:60Z", "٢٠٢٦-11-21T08:30:00Z", 5, "2026-11-21T08:30:00+99:00"],
)  # fmt: skip
def test_a_time_that_is_none_is_refused(wrong: object) -> None:
    assert refused("Toy", orjson.dumps({"made_at": wrong})).errors[0].field == "made_at"


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b'{"colour": 1}', "colour", "is unknown"),
        (b'{"toy_id": "x"}', "toy_id", "it is called 'id' here"),
        (b'{"labl": "x"}', "labl", "did you mean 'label'?"),
        (b'{"wood": {"trunk": 1}}', "wood.trunk", "is unknown"),
        (b'{"inside": [{}, {"big": "x"}]}', "inside[1].big", "must be an integer"),
        (b'{"big": 1.5}', "big", "must be an integer"),
        (b'{"big": true}', "big", "must be an integer"),
        (b'{"big": 9223372036854775808}', "big", "must lie between"),
        (b'{"small": 2147483648}', "small", "must lie between"),
        (b'{"small": "1"}', "small", "must be an integer"),
        (b'{"bigger": -1}', "bigger", "must lie between"),
        (b'{"wound": 1}', "wound", "must be true or false"),
        (b'{"label": 1}', "label", "must be a string"),
        (b'{"kind": "KIND_DOLL"}', "kind", "must be one of tin_car, doll"),
        (b'{"kind": 2}', "kind", "must be one of tin_car, doll"),
        (b'{"tags": "x"}', "tags", "must be a list"),
        (b'{"tags": [null]}', "tags[0]", "must be a string, not null"),
        (b'{"counts": []}', "counts", "must be an object"),
        (b'{"counts": {"a": "b"}}', "counts.a", "must be an integer"),
        (b'{"parts": {"one": {}}}', "parts.one", "its key must be an integer"),
        (b'{"wood": 1}', "wood", "must be a JSON object"),
        (b'{"paint": "?"}', "paint", "must be base64"),
        (b'{"price": 1e39}', "price", "too large"),
        (b'{"play_time": "1"}', "play_time", "must be seconds"),
        (b'{"mask": "a b"}', "mask", "field names"),
        (b'{"tin": {}, "wood": {}}', "wood", "excludes tin"),
    ],
)
def test_what_cannot_be_taken_names_the_field_and_the_mend(
    body: bytes, field: str, says: str
) -> None:
    problem = refused("Toy", body)
    assert problem.reason == "INVALID_FIELD"
    assert problem.errors[0].field == field
    assert says in problem.errors[0].detail
    assert problem.detail.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"story": ', b'{"story": {]', b'{"story": "x', b'{"id": "a",}', b'{"id" "a"}',
     b"{} {}", b'{"id": nope}', b"\xff", b'{"label": "\xff"}', b'{"id": "a" "label": 1}', b"nul",
     b'{"story": 1, "story": 2}', b'{1: 2}', b'{"inside": [{}', b'{"inside": [{},]}'],
)  # fmt: skip
def test_a_body_that_is_not_json_is_malformed(body: bytes) -> None:
    assert refused("Toy", body).reason in ("MALFORMED_BODY", "INVALID_FIELD")


def test_nesting_without_end_is_refused_and_not_a_stack_overflow() -> None:
    depth = 5_000
    body = b'{"inside":[' * depth + b"]}" * depth
    assert "nested" in refused("Toy", body).detail


def test_json_in_json_keeps_every_digit_space_and_order() -> None:
    story = b'{ "z": 1.10, "a": [12345678901234567890, -0.0, "\\u00e9}\\"]"], "n": {} }'
    toy = read("Toy", b'{"inside": [{"story": %b}], "label": "x"}' % story)
    assert toy.inside[0].story == story
    assert b'"story":' + story in orjson.dumps(Encoders().of(toy.DESCRIPTOR)(toy))


def test_null_is_as_good_as_absent() -> None:
    body = orjson.dumps(dict.fromkeys(shown(message("Toy"))))
    assert read("Toy", body) == message("Toy")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(story=_JSON, label=st.text(), tail=st.sampled_from([b"", b" ", b"\n\t"]))
def test_any_json_value_can_be_cut_out_of_a_body(story: Any, label: str, tail: bytes) -> None:
    text = json.dumps(story).encode()  # the standard library writes integers of any size
    body = b'{"label":%b,"story":%b%b,"small":7}' % (json.dumps(label).encode(), text, tail)
    try:
        toy = read("Toy", body)
    except Problem:
        # A lone surrogate in the label is JSON that no string can hold.
        assert any(0xD800 <= ord(c) <= 0xDFFF for c in label)
        return
    assert (toy.label, toy.small) == (label, 7)
    assert toy.story == (b"" if story is None else text)


_TOYS = st.builds(
    lambda **fields: message("Toy", **fields),
    toy_id=st.text(),
    kind=st.integers(0, 2),
    big=st.integers(-(2**63), 2**63 - 1),
    bigger=st.integers(0, 2**64 - 1),
    small=st.integers(-(2**31), 2**31 - 1),
    weight=st.floats(allow_nan=False),
    price=st.floats(width=32, allow_nan=False),
    wound=st.booleans(),
    label=st.none() | st.text(),
    paint=st.binary(),
    counts=st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1)),
    tags=st.lists(st.text()),
    age=st.none() | st.integers(-5, 5),
    sizes=st.lists(st.floats(allow_nan=False)),
)


@settings(max_examples=150, deadline=None)
@given(toy=_TOYS)
def test_a_message_survives_json_and_protobuf_reads_the_same(toy: Any) -> None:
    text = orjson.dumps(Encoders().of(toy.DESCRIPTOR)(toy))
    assert read("Toy", text) == toy
    theirs = orjson.loads(json_format.MessageToJson(toy, always_print_fields_with_no_presence=True))
    ours = orjson.loads(text)
    assert ours["paint"] == theirs["paint"]
    assert str(ours["big"]) == theirs["big"]
    assert ours["id"] == theirs["toyId"]


def test_encoding_a_list_is_twice_as_fast_as_the_generic_way() -> None:
    run = pb.Run(run_id="r" * 36, name="n" * 40, metadata=b'{"a":"%b"}' % (b"x" * 2_000))
    run.create_time.GetCurrentTime()
    page = pb.ListRunsResponse(runs=[run] * 50)
    encode = Encoders().of(pb.ListRunsResponse.DESCRIPTOR)

    def timed(work: Any) -> float:
        begin = perf_counter()
        for _ in range(20):
            work()
        return perf_counter() - begin

    # In turns, and the best of each: what else the machine does makes a round longer only.
    rounds = [
        (
            timed(lambda: orjson.dumps(encode(page))),
            timed(lambda: json_format.MessageToJson(page)),
        )
        for _ in range(15)
    ]
    ours, theirs = (min(each) for each in zip(*rounds, strict=True))
    print(f"ours {ours / 1000 * 1e6:.1f} us a run, json_format {theirs / 1000 * 1e6:.1f} us")
    assert ours * 2 < theirs
