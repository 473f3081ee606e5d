"""Work that several lanes share: what is put aside for whoever would have nothing to do."""

from __future__ import annotations

import threading

from gimle.asgard.transfer.lanes import Work
from gimle.asgard.transfer.wire import Wire

PATIENCE_S = 30.0


def test_help_that_was_put_aside_comes_when_one_task_is_left() -> None:
    helped, other_may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def helper(wire: Wire) -> None:
        order.append("help")
        helped.set()

    def large(wire: Wire) -> None:
        work.spare([helper])
        # Lanes enough have nothing to do: still nobody helps while the other is at work.
        assert not helped.wait(0.2)
        other_may_end.set()
        assert helped.wait(PATIENCE_S)

    def other(wire: Wire) -> None:
        assert other_may_end.wait(PATIENCE_S)
        order.append("other")

    work = Work([large, other])
    work.run(4)
    assert order == ["other", "help"]


def test_help_that_nobody_needs_any_more_does_not_come() -> None:
    came: list[str] = []
    work = Work([lambda wire: work.spare([lambda wire: came.append("help")])])
    work.run(1)
    assert came == []
