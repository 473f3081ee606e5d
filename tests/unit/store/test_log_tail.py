"""What is told from memory is what follows without a gap, of the same epoch."""

from __future__ import annotations

from datetime import UTC, datetime

from asgard_server.run.store import Change, Key, RunRow
from asgard_server.store.log_tail import KEPT, Logged, LogTail
from gimle.asgard.core.documents import RunDocument

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def logged(revision: int) -> Logged:
    run = RunDocument(f"run-{revision}", "a run", NOW, NOW)
    return (
        Change(revision, Key("run", run.id), run.id, gone=False),
        RunRow(run, 0, f"etag {revision}", NOW),
    )


def test_entries_without_a_gap_are_told_with_their_rows() -> None:
    tail = LogTail()
    tail.add("e", [logged(n) for n in (5, 6, 7, 9)])
    news = tail.behind("e", 4, 100)
    assert news is not None
    assert [change.revision for change in news.changes] == [5, 6, 7]
    assert (news.epoch, news.head) == ("e", 7)
    assert {key: row.etag for key, row in news.rows.items()} == {
        Key("run", f"run-{n}"): f"etag {n}" for n in (5, 6, 7)
    }


def test_what_does_not_follow_at_once_is_left_to_the_log() -> None:
    tail = LogTail()
    tail.add("e", [logged(5)])
    assert tail.behind("e", 3, 100) is None, "somebody else wrote 4"
    assert tail.behind("e", 5, 100) is None, "it cannot say that there is nothing"


def test_a_page_is_no_longer_than_asked_for() -> None:
    tail = LogTail()
    tail.add("e", [logged(n) for n in range(1, 11)])
    news = tail.behind("e", 2, 3)
    assert news is not None
    assert ([change.revision for change in news.changes], news.head) == ([3, 4, 5], 5)


def test_another_epoch_has_other_revisions() -> None:
    tail = LogTail()
    tail.add("old", [logged(1), logged(2)])
    assert tail.behind("new", 0, 100) is None
    tail.add("new", [logged(1)])
    news = tail.behind("new", 0, 100)
    assert news is not None
    assert len(news.changes) == 1
    assert tail.behind("old", 0, 100) is None


def test_the_oldest_are_forgotten() -> None:
    tail = LogTail()
    tail.add("e", [logged(n) for n in range(1, KEPT + 3)])
    assert tail.behind("e", 1, 100) is None
    assert tail.behind("e", 2, 100) is not None
