"""A watch says what there is and what changes, whoever changes it, in every home."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path

import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import InvalidFieldError, StorageUnavailableError
from gimle.asgard.core.watching import Event

from tests.sdk.homes import Home
from tests.sdk.servers import Server


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watch look into a store every 100 ms, not every two seconds."""
    monkeypatch.setattr("gimle.asgard.monitor.home._S3_SECONDS", 0.1)


def said(event: Event) -> tuple[str, str | None, str | None]:
    return event.kind, event.object_id, event.run_id


def snapshot(events: Iterator[Event]) -> set[tuple[str, str | None, str | None]]:
    assert next(events).kind == "reset"
    return set(map(said, takewhile(lambda event: event.kind != "snapshot_end", events)))


def until(events: Iterator[Event], kind: str, id: str) -> list[Event]:
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if (event.kind, event.object_id) == (kind, id):
            return seen
    raise AssertionError(seen)


def test_a_snapshot_is_followed_by_what_changes(storage: AsgardStorage, home: Home) -> None:
    run = storage.create_run("r")
    first = storage.add_result(run, "T", {"x": [1]})
    events = home.open().watch()
    assert snapshot(events) == {("update", run.id, run.id), ("update", first.id, run.id)}
    second = storage.add_result(run, "T", {"x": [1]})
    until(events, "update", second.id)
    storage.append(second, {"x": [2]})
    assert until(events, "update", second.id)[-1].run_id == run.id
    storage.update_run(run, note="n")
    assert until(events, "update", run.id)[-1].object_type == "run"
    storage.delete_result(first)
    assert until(events, "delete", first.id)[-1].run_id == run.id
    storage.delete_run(run)
    # The run's document goes first: whoever looks at that moment tells of it before its results.
    gone = {("delete", run.id, run.id), ("delete", second.id, run.id)}
    while gone:
        gone.discard(said(next(events)))


def test_a_watch_from_now_is_silent_about_what_was(storage: AsgardStorage, home: Home) -> None:
    storage.create_run("before")
    script = (
        "import sys, time; from gimle.asgard import AsgardStorage; s = AsgardStorage(sys.argv[1])\n"
        "for k in range(100): time.sleep(0.1); s.create_run(str(k), id=f'run-{k}')"
    )
    other = subprocess.Popen([sys.executable, "-c", script, home.where])
    try:
        events = islice(home.open().watch(start="now"), 5)
        ids = [event.object_id for event in events]
    finally:
        other.kill()
        other.wait()
    assert all(id is not None and id.startswith("run-") for id in ids)
    assert len(set(ids)) == 5


def test_now_is_when_the_watch_was_asked_for(storage: AsgardStorage, home: Home) -> None:
    storage.create_run("before")
    events = home.open().watch(start="now")
    run = storage.create_run("between")
    assert said(next(events)) == ("update", run.id, run.id)


def test_a_wrong_start_is_named(storage: AsgardStorage) -> None:
    with pytest.raises(InvalidFieldError, match="start"):
        storage.watch(start="yesterday")  # type: ignore[arg-type]  # the mistake under test


def test_a_folder_that_goes_away_has_lost_nothing_but_itself(tmp_path: Path) -> None:
    storage = AsgardStorage(tmp_path / "there", durability="relaxed")
    storage.create_run("r")
    events = storage.watch()
    snapshot(events)
    shutil.move(tmp_path / "there", tmp_path / "away")
    with pytest.raises(StorageUnavailableError):
        next(events)


def test_a_watch_goes_on_over_a_restart_and_says_each_change_once(tmp_path: Path) -> None:
    server = Server(tmp_path / "storage")
    server.start()
    try:
        # The index of a new folder is made behind the first answers, which is told as a reset.
        server.until_indexed()
        storage = AsgardStorage(server.where)
        events = storage.watch()
        assert snapshot(events) == set()
        first = storage.create_run("first")
        until(events, "update", first.id)
        server.end(signal.SIGTERM)
        # Written by somebody else while the server is away.
        second = AsgardStorage(server.folder).create_run("second")
        server.start()
        assert [said(event) for event in until(events, "update", second.id)] == [
            ("update", second.id, second.id)
        ]
        token = ""
        third = storage.create_run("third")
        token = until(events, "update", third.id)[-1].token
        fourth = storage.create_run("fourth")
        again = storage.watch(token=token)
        assert next(again).object_id == fourth.id
        assert next(storage.watch(token="bm9uc2Vuc2U")).kind == "reset"
    finally:
        server.end()
