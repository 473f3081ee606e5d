"""Fields that messages of all services have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from asgard_server.rpc.fields import optional, timestamp
from gimle.asgard.v1 import run_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 29, 12, 30, 15, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 29, 12, tzinfo=timezone(timedelta(hours=-7))),
    ],
)
def test_a_moment_becomes_the_message_that_protobuf_makes_of_it(moment: datetime) -> None:
    wanted = Timestamp()
    wanted.FromDatetime(moment)
    assert timestamp(moment) == wanted


def test_no_moment_leaves_its_field_out() -> None:
    assert not pb.Run(finish_time=timestamp(None)).HasField("finish_time")


def test_a_field_that_is_absent_is_told_from_an_empty_one() -> None:
    assert optional(pb.CreateRunRequest(), "note") is None
    assert optional(pb.CreateRunRequest(note=""), "note") == ""
