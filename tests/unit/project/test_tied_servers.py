"""Servers that tests have started do not outlive them, however those end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines.running import CACHE

ROOT = CACHE.parents[1]
STARTS = """
import asyncio, json, sys, time
from pathlib import Path
from tests.engines import minio, postgres, redis, versitygw
from tests.rpc.process import ServerProcess

engines = [minio.server(), postgres.server(), redis.server(), versitygw.server()]
asgard = ServerProcess(Path(sys.argv[1]))
asyncio.run(asgard.start())
print(json.dumps({str(one.folder): one.pid for one in engines} | {"": asgard.pid}), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_servers_of_tests_that_are_killed_end_and_leave_nothing(
    tmp_path: Path, how: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as tests:
        assert tests.stdout is not None
        started: dict[str, int] = json.loads(tests.stdout.readline())
        servers = {pid: born(pid) for pid in started.values()}
        assert all(servers.values()), "a server ended by itself"
        below = [pid for pid in all_pids() if parent(pid) in servers]
        assert below, "PostgreSQL has processes of its own"
        servers |= {pid: born(pid) for pid in below}
        tests.send_signal(how)
    deadline = time.monotonic() + 60
    while left := [pid for pid, since in servers.items() if since and born(pid) == since]:
        assert time.monotonic() < deadline, f"{left} run still"
        time.sleep(0.05)
    while there := [folder for folder in started if folder and Path(folder).exists()]:
        assert time.monotonic() < deadline, f"{there} are there still"
        time.sleep(0.05)


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat(pid: int) -> list[str]:
    """What the kernel says of a process behind its name; nothing when it has ended."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if said[0] == "Z" else said


def parent(pid: int) -> int:
    said = stat(pid)
    return int(said[1]) if said else 0


def born(pid: int) -> str:
    """When it started, "" when it has ended: two of one number differ in it."""
    said = stat(pid)
    return said[19] if said else ""
