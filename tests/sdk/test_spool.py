"""A server that is killed, away and back: nothing that was saved is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import (
    InvalidFieldError,
    LengthMismatchError,
    StorageUnavailableError,
)

from tests.sdk.servers import Server, until_sent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "storage")
    server.start()
    yield server
    server.end()


def test_saves_go_on_over_a_kill_and_a_restart_and_each_is_there_once(server: Server) -> None:
    storage = AsgardStorage(server.where)
    run = storage.create_run("r")
    curve = storage.add_result(run, "OptimizationResult", {"loss": []})
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    def kill_now_and_then() -> None:
        for _ in range(2):
            time.sleep(chance.uniform(0.1, 0.5))
            server.end(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            server.start()

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    step = 0
    while killer.is_alive() or step < 50:
        storage.append(curve, {"loss": [float(step)]})
        storage.add_result(run, "T", {"x": np.full(1100, step)}, id=f"step-{step}")
        step += 1
    killer.join()
    storage.finish_run(run)
    there = AsgardStorage(server.folder).get_run(run.id)
    assert there.status == "succeeded"
    loss, *others = there.results
    assert loss.data["loss"].tolist() == [float(k) for k in range(step)]
    assert [result.id for result in others] == [f"step-{k}" for k in range(step)]


def test_without_a_spool_an_unreachable_server_is_said_with_its_address(tmp_path: Path) -> None:
    storage = AsgardStorage(Server(tmp_path).where, spool=tmp_path / "spool")
    with pytest.raises(StorageUnavailableError, match=r"grpc://127.0.0.1:\d+ .*server running"):
        storage.list_runs()
    with pytest.raises(InvalidFieldError, match="spool"):
        AsgardStorage(tmp_path, spool=tmp_path / "spool")


def test_what_is_saved_while_the_server_is_away_is_sent_when_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    storage = AsgardStorage(server.where, spool=tmp_path / "spool")
    before = storage.create_run("before", status="running")
    grown = storage.add_result(before, "T", {"x": [1.0]})
    dropped = storage.add_result(before, "T", {"x": [1.0]})
    server.end()
    storage.append(grown, {"x": [2.0]})
    storage.append(grown.id, {"x": np.arange(2000.0)})
    storage.update_run(before, note="while away", tags=["t"])
    storage.delete_result(dropped)
    storage.finish_run(before, status="failed")
    ended_at = before.finished_at
    assert (before.note, before.status, before.result_ids[0]) == ("while away", "failed", grown.id)
    inside = storage.save_simulation_result("inside", "T", {"x": np.arange(3000), "y": [1]})
    late = storage.add_result(inside, "T", {"z": np.full((40, 40), 1 + 2j)})
    with pytest.raises(LengthMismatchError):
        storage.append(grown.id, {"x": [9.0]}, at=5)
    waiting = storage.pending()
    assert [entry.action for entry in waiting] == [
        *("AppendResult", "AppendResult", "UpdateRun", "DeleteResult", "FinishRun"),
        *("SaveRun", "AddResult"),
    ]
    assert {entry.run_id for entry in waiting} == {before.id, inside.id}
    server.start()
    until_sent(storage)
    assert storage.pending() == []
    run = storage.get_run(before.id)
    assert (run.note, run.tags, run.status) == ("while away", ["t"], "failed")
    assert run.finished_at == ended_at
    (only,) = run.results
    assert only.data["x"].tolist() == [1.0, 2.0, *np.arange(2000.0)]
    first, second = storage.get_run(inside.id).results
    np.testing.assert_array_equal(first.data["x"], np.arange(3000))
    np.testing.assert_array_equal(second.data["z"], np.full((40, 40), 1 + 2j))
    assert second.id == late.id
    assert sorted(os.listdir(tmp_path / "spool")) == [".replay", "arrays", "refused"]
    assert os.listdir(tmp_path / "spool" / "arrays") == []
    storage.create_run("after")
    assert storage.pending() == []


def test_a_later_process_sends_what_a_killed_one_has_kept(server: Server, tmp_path: Path) -> None:
    server.end()
    code = (
        "import os, signal, sys, numpy as np; from gimle.asgard import AsgardStorage\n"
        "s = AsgardStorage(sys.argv[1], spool=sys.argv[2])\n"
        "run = s.create_run('from the dead', id='dead')\n"
        "for k in range(3): s.add_result(run, 'T', {'x': np.full(1500, k)})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    spool = tmp_path / "spool"
    dead = subprocess.run([sys.executable, "-c", code, server.where, str(spool)], check=False)
    assert dead.returncode == -signal.SIGKILL
    # It died over a further entry as well.
    (segment,) = spool.glob("*.spool")
    with segment.open("ab") as file:
        file.write(b'00000000 {"time": 1')
    later = AsgardStorage(server.where, spool=spool)
    assert [entry.action for entry in later.pending()] == ["CreateRun"] + ["AddResult"] * 3
    server.start()
    until_sent(later)
    run = later.get_run("dead")
    assert [result.data["x"][0] for result in run.results] == [0, 1, 2]


def test_processes_may_share_a_spool_and_each_save_is_there_once_and_in_order(
    server: Server, tmp_path: Path
) -> None:
    server.end()
    code = (
        "import sys; from gimle.asgard import AsgardStorage\n"
        "s = AsgardStorage(sys.argv[1], spool=sys.argv[2])\n"
        "run = s.create_run(sys.argv[3], id=sys.argv[3])\n"
        "for k in range(20): s.add_result(run, 'T', {'x': [k]}, id=f'{run.id}-{k}')\n"
        "s.append(f'{run.id}-0', {'x': [7]})\n"
        "print('kept', flush=True); sys.stdin.read()"
    )
    spool = tmp_path / "spool"
    names = ["one", "two", "three"]
    saving = [
        subprocess.Popen(
            [sys.executable, "-c", code, server.where, str(spool), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in names
    ]
    try:
        for process in saving:
            assert process.stdout is not None
            assert process.stdout.readline() == b"kept\n"
        looking = AsgardStorage(server.where, spool=spool)
        assert {entry.run_id for entry in looking.pending()} == {*names}
        assert len(looking.pending()) == 3 * 22
        # One of them dies with the lock in its hand, or not: another goes on.
        saving[0].kill()
        server.start()
        until_sent(looking)
    finally:
        for process in saving:
            process.kill()
            process.communicate()
    for name in names:
        results = looking.get_run(name).results
        assert [result.id for result in results] == [f"{name}-{k}" for k in range(20)]
        assert results[0].data["x"].tolist() == [0, 7]
    assert os.listdir(spool / "refused") == []


def test_a_refused_save_lies_aside_with_its_reason_and_holds_up_no_other_run(
    server: Server, tmp_path: Path
) -> None:
    AsgardStorage(server.where).create_run("taken", id="taken")
    server.end()
    storage = AsgardStorage(server.where, spool=tmp_path / "spool")
    wrong = storage.create_run("another", id="taken")
    storage.add_result(wrong, "T", {"x": np.arange(2000)})
    right = storage.create_run("right")
    storage.add_result(right, "T", {"x": 1})
    server.start()
    until_sent(storage)
    assert len(storage.get_run(right.id).results) == 1
    first, second = storage.pending()
    assert (first.action, second.action) == ("CreateRun", "AddResult")
    assert first.refused is not None
    assert "already a run taken" in first.refused
    assert second.refused is not None
    assert "before it was refused" in second.refused
    names = os.listdir(tmp_path / "spool" / "refused")
    assert sorted(name.rpartition(".")[2] for name in names) == ["json", "json", "npy"]
    with pytest.warns(UserWarning, match="was refused and lies in"):
        storage.create_run("next")
    assert storage.load_run("taken").name == "taken"
