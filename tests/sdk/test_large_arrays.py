"""Arrays of any size through a service: in little memory, whole or not at all."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.client.transfers import Transfer
from gimle.asgard.core.arrays import same_bits

from tests.sdk.servers import Server, until_sent

MIB = 1 << 20
LARGE_BYTES = 300 * MIB
CEILING_BYTES = 100 * MIB
"""What a process may take in memory for a large array, on top of what it took before."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path / "home")
    one.start()
    yield one
    one.end()


def memory(pid: int, of: str) -> int:
    said = re.search(rf"{of}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert said is not None
    return int(said[1]) * 1024


def in_files(server: Server) -> list[str]:
    parts = (server.folder / part for part in ("results", "files"))
    return [file.name for part in parts for file in part.iterdir()]


def parts_of(server: Server) -> list[Path]:
    """Parts of uploads that have arrived; none of one that is being put together meanwhile."""
    try:
        return list((server.folder / ".asgard" / "uploads" / "parts").glob("*/*"))
    except FileNotFoundError:  # a folder went between its listing and its parts'
        return []


def a_file(path: Path, nbytes: int) -> np.memmap[tuple[int, ...], np.dtype[np.float64]]:
    """An array that lies in a file, most of which are holes."""
    array = np.memmap(path, np.float64, "w+", shape=(nbytes // 8 // 1000, 1000))
    array[::997] = np.arange(1000)
    array.flush()
    return array


SAVE = """
import sys, numpy as np
from gimle.asgard import AsgardStorage

def tell(transfer):
    if transfer.done % (1 << 23) == 0:
        print(transfer.done, flush=True)

storage = AsgardStorage(sys.argv[1], progress=tell)
array = np.memmap(sys.argv[2], np.float64, "r").reshape(-1, 1000)
storage.load_run("run")
def memory(of):
    said = [line.split() for line in open("/proc/self/status")]
    return next(int(words[1]) * 1024 for words in said if words[0] == of)
before = memory("VmRSS:")
result = storage.add_result("run", "T", {"x": array}, id="large")
print("took", memory("VmHWM:") - before, flush=True)
"""


def saving(server: Server, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SAVE, server.where, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_300_mib_go_past_a_service_in_the_memory_of_some_pieces(
    server: Server, tmp_path: Path
) -> None:
    array = a_file(tmp_path / "large", LARGE_BYTES)
    storage = AsgardStorage(server.where)
    storage.create_run("r", id="run")
    storage.add_result("run", "T", {"x": np.zeros(300_000)})  # what loads at the first use
    before = memory(server.pid, "VmRSS")
    with saving(server, tmp_path / "large") as client:
        said, _ = client.communicate(timeout=120)
    assert client.returncode == 0
    took = int(said.rpartition("took")[2])
    assert took < CEILING_BYTES, f"the client took {took // MIB} MiB"
    grew = memory(server.pid, "VmHWM") - before
    assert grew < CEILING_BYTES, f"the server took {grew // MIB} MiB"
    storage.append("large", {"x": array[: len(array) // 10]}, at=len(array))
    grew = memory(server.pid, "VmHWM") - before
    assert grew < CEILING_BYTES, f"the server took {grew // MIB} MiB to append"
    found = AsgardStorage(server.folder).load_result("large").data["x"]
    assert found.shape == (len(array) + len(array) // 10, 1000)
    assert same_bits(found[: len(array)], array)
    assert same_bits(found[len(array) :], array[: len(array) // 10])


def test_a_client_killed_midway_shows_nothing_and_the_next_one_goes_on(
    server: Server, tmp_path: Path
) -> None:
    a_file(tmp_path / "large", 128 * MIB)
    storage = AsgardStorage(server.where)
    storage.create_run("r", id="run")
    with saving(server, tmp_path / "large") as client:
        assert client.stdout is not None
        while int(client.stdout.readline()) < 80 * MIB:  # parts are of 32
            pass
        client.send_signal(signal.SIGKILL)
    before = parts_of(server)
    assert len(before) >= 2
    stamps = {part: part.stat().st_mtime_ns for part in before}
    assert in_files(server) == []
    assert storage.get_run("run").results == []
    again = set(before)
    with saving(server, tmp_path / "large") as client:
        while client.poll() is None:
            for part in parts_of(server):
                if part.name in {known.name for known in before} and part.exists():
                    with suppress(FileNotFoundError):
                        if part.stat().st_mtime_ns == stamps[part]:
                            again.discard(part)
    assert client.returncode == 0
    assert again == set(), "what had arrived is not sent again"
    assert parts_of(server) == []
    assert [result.id for result in storage.get_run("run").results] == ["large"]


def test_a_stream_that_breaks_is_sent_again_under_the_same_id(
    server: Server, tmp_path: Path
) -> None:
    told: list[Transfer] = []
    restarted: list[threading.Thread] = []

    def tell(transfer: Transfer) -> None:
        told.append(transfer)
        if transfer.done >= 8 * MIB and not restarted:
            server.end()
            restarted.append(threading.Thread(target=server.start))
            restarted[0].start()

    # Less patience than it takes: it counts from the last time that something went.
    storage = AsgardStorage(server.where, progress=tell, patience=10)
    storage.create_run("r", id="run")
    array = np.arange(2 * MIB, dtype=float)
    result = storage.add_result("run", "T", {"x": array, "y": array[::2]})
    restarted[0].join()
    assert [one.id for one in storage.get_run("run").results] == [result.id]
    assert told[-1] == Transfer("up", result.id, 24 * MIB, 24 * MIB)
    told.clear()
    np.testing.assert_array_equal(storage.load_result(result.id).data["x"], array)
    assert told[-1] == Transfer("down", result.id, 24 * MIB, 24 * MIB)


def test_a_progress_that_fails_does_not_keep_what_is_saved(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def tell(transfer: Transfer) -> None:
        raise ZeroDivisionError

    storage = AsgardStorage(server.where, progress=tell)
    run = storage.save_simulation_result("r", "T", {"x": np.zeros(MIB)})
    assert run.results[0].data["x"].shape == (MIB,)
    assert "progress" in caplog.text


def test_a_spool_keeps_large_arrays_as_files_and_sends_them_in_pieces(
    server: Server, tmp_path: Path
) -> None:
    server.end()
    code = (
        "import os, signal, sys, numpy as np; from gimle.asgard import AsgardStorage\n"
        "s = AsgardStorage(sys.argv[1], spool=sys.argv[2], patience=0)\n"
        "x = np.arange(10_000_000.0)\n"
        "run = s.save_simulation_result('r', 'T', {'x': x}, id='run')\n"
        "s.append(run.results[0], {'x': x[:1_000_000]})\n"
        "s.add_result(run, 'T', {'small': np.arange(2000), 'x': x[::2]}, id='second')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    spool = tmp_path / "spool"
    dead = subprocess.run([sys.executable, "-c", code, server.where, str(spool)], check=False)
    assert dead.returncode == -signal.SIGKILL
    sizes = sorted(file.stat().st_size for file in (spool / "arrays").iterdir())
    assert [size // 8_000_000 for size in sizes] == [0, 1, 5, 10]
    told: list[Transfer] = []
    later = AsgardStorage(server.where, spool=spool, progress=told.append)
    assert [entry.action for entry in later.pending()] == ["SaveRun", "AppendResult", "AddResult"]
    server.start()
    until_sent(later, 30)
    first, second = later.get_run("run").results
    assert {one.total for one in told} == {80_000_000, 8_000_000, 40_000_000}
    x = np.arange(10_000_000.0)
    np.testing.assert_array_equal(first.data["x"], np.concatenate([x, x[:1_000_000]]))
    np.testing.assert_array_equal(second.data["x"], x[::2])
    np.testing.assert_array_equal(second.data["small"], np.arange(2000))
    assert list((spool / "arrays").iterdir()) == []


def test_many_small_arrays_go_with_the_call_and_not_one_by_one(server: Server) -> None:
    told: list[Transfer] = []
    storage = AsgardStorage(server.where, progress=told.append)
    data = {f"x{k}": np.full(2000, k) for k in range(400)}
    result = storage.save_simulation_result("r", "T", data | {"large": np.zeros(MIB)}).results[0]
    # The large one by itself, then 4 MiB of the others with the call, and the rest behind it.
    assert told[0] == told[1] == Transfer("up", told[0].id, 8 * MIB, 8 * MIB)
    behind = told[2:]
    sizes = [b.done - a.done for a, b in pairwise(behind)]
    assert behind[0].done == 262 * 16_000
    assert sizes == [16_000] * 138
    assert behind[-1].done == behind[-1].total
    found = storage.load_result(result.id).data
    assert all((found[name] == value).all() for name, value in data.items())
