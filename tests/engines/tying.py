"""Servers that tests start end with them, also when the process of the tests is killed.

`tied` names one to a watcher of this process. The watcher is this file as a program: it reads
names from its standard input, and when that ends, because its other end is gone with the process
that held it, it ends all that still run and removes their folders.
"""

from __future__ import annotations

import functools
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 5.0


def tied(pid: int, how: signal.Signals = signal.SIGKILL, folder: Path | None = None) -> None:
    """Let a process that this one has started end by `how`, and `folder` go, when this one ends.

    Where there are no pidfds (elsewhere than on Linux) nothing happens.
    """
    if hasattr(os, "pidfd_open"):
        said = {"pid": pid, "how": how, "folder": str(folder) if folder else None}
        os.write(_watcher(os.getpid()), json.dumps(said).encode() + b"\n")


@functools.cache
def _watcher(of: int) -> int:
    """Where this process tells its watcher; a forked child has one of its own."""
    reading, writing = os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", __file__],
        {},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, given, at) for at, given in enumerate((reading, nowhere, nowhere))
        ],
        setsid=True,  # a Ctrl-C at the keyboard is not for it
    )
    os.close(reading)
    os.close(nowhere)
    return writing


def _watch(lines: Iterable[str]) -> None:
    """Hear of processes until nobody is left to speak of any; then end them."""
    held: dict[int, signal.Signals] = {}
    folders: set[str] = set()
    for line in lines:
        said = json.loads(line)
        for gone in _ended(held, 0):
            os.close(gone)
            del held[gone]
        if said["folder"]:
            folders.add(said["folder"])
        with suppress(ProcessLookupError):
            # By its pidfd: its number may be another's by the time it is needed.
            held[os.pidfd_open(said["pid"])] = signal.Signals(said["how"])
    for pidfd, how in held.items():
        _send(pidfd, how)
    for pidfd in held:
        if not _ended([pidfd], _PATIENCE_S):
            _send(pidfd, signal.SIGKILL)
            _ended([pidfd], _PATIENCE_S)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _send(pidfd: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, how)


def _ended(pidfds: Iterable[int], seconds: float) -> list[int]:
    """Those of the processes that have ended, after waiting for one of them."""
    return select.select(list(pidfds), [], [], seconds)[0]


if __name__ == "__main__":
    _watch(sys.stdin)
