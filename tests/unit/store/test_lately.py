"""What was begun lately is remembered within bounds."""

from __future__ import annotations

from datetime import UTC, datetime

from asgard_server.blob.domain import NewUpload, begin
from asgard_server.blob.lately import Lately

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_the_oldest_are_forgotten_first() -> None:
    lately = Lately(most=2)
    first, second, third = (begin(NewUpload(id=name), NOW) for name in ("a", "b", "c"))
    lately.note([first, second])
    assert lately.of(["a", "b", "x"]) == {"a": first, "b": second}
    lately.note([third])
    assert lately.of(["a", "b", "c"]) == {"b": second, "c": third}


def test_what_has_ended_is_forgotten() -> None:
    lately = Lately()
    blob = begin(NewUpload(id="a"), NOW)
    lately.note([blob])
    lately.forget(["a", "x"])
    assert lately.of(["a"]) == {}
