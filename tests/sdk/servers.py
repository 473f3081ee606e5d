"""The server as a process that a test, which has no loop, can kill and start again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from gimle.asgard.core.errors import AsgardError
from gimle.asgard.monitor.storage import AsgardStorage

from tests.conftest import free_port, index_is_whole
from tests.engines.tying import tied


class Server:
    """`asgard serve all` on one folder, always at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.where = f"grpc://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and return when it is ready."""
        command = [sys.executable, "-m", "gimle.asgard.cli", "serve", "all"]
        self._process = subprocess.Popen(
            [*command, "--storage", str(self.folder), "--port", "0", "--grpc-port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ASGARD_DURABILITY": "relaxed"},
        )
        tied(self._process.pid)
        assert self._process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = self._process.stdout.readline()
            assert line, f"the server ended: {said}"
            said += line
        assert re.search(rf":{self.port}\b", said), said

    def until_indexed(self, seconds: float = 60.0) -> None:
        """Return when the index knows the whole folder: watchers are not reset by it any more."""
        deadline = time.monotonic() + seconds
        while not index_is_whole(self.folder):
            assert time.monotonic() < deadline, "the index is not made"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process, for a look at it."""
        assert self._process is not None
        return self._process.pid

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def until_sent(storage: AsgardStorage, seconds: float = 20.0) -> None:
    """Return when nothing waits in the spool of `storage`."""
    deadline = time.monotonic() + seconds
    while any(entry.refused is None for entry in storage.pending()):
        assert time.monotonic() < deadline, storage.pending()
        time.sleep(0.05)


def reachable(storage: AsgardStorage) -> bool:
    """Whether the storage answers."""
    try:
        storage.list_runs(limit=1)
    except AsgardError:
        return False
    return True
