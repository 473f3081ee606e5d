"""The row of a result that was written here says what its document, read back, would say."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from asgard_server.run.store import Found
from asgard_server.store.rows import result_values
from gimle.asgard.core.documents import ResultDocument, encode_result

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PLAIN = ResultDocument(
    id="res-1",
    run_id="run-1",
    result_type="Solution1D",
    data={"x": [0, 1]},
    created_at=NOW,
    display={"title": "one"},
    extra={},
)


@pytest.mark.parametrize(
    "result",
    [
        PLAIN,
        replace(PLAIN, result_type=""),
        replace(PLAIN, display={}),
        replace(PLAIN, display={"at": math.inf, "none": None, "$odd": (1, 2), "big": 1 << 70}),
        replace(PLAIN, created_at=NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))),
        replace(PLAIN, created_at=NOW.replace(microsecond=7) + timedelta(hours=1)),
    ],
)
def test_what_is_known_of_a_result_is_what_its_bytes_say(result: ResultDocument) -> None:
    read = Found(encode_result(result), "stamp", NOW)
    now = int(NOW.timestamp() * 1_000_000)
    with sqlite3.connect(":memory:") as cutter:
        known = result_values(cutter, result.id, read._replace(result=result), now)
        assert known == result_values(cutter, result.id, read, now)
