"""libfaketime, found or brought: a clock of one process that a test sets while it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "engines"


class Clock:
    """The clock of the processes that are started with `environ`; `file` says how it goes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environ = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            # Timers go on: only what the time of day is, is set back.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # Times of files are the kernel's, and not this process's.
            "NO_FAKE_STAT": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def set(self, seconds: int) -> None:
        """Let it go so many seconds before (-) or behind (+) the true one, from now on."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.replace(self._file)


def library() -> Path:
    """The library to preload: the system's, of apt, or built from its distribution at PyPI."""
    if found := _on_this_machine():
        return found
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        command = [apt, "install", "-y", "--no-install-recommends", "libfaketime"]
        subprocess.run(command, check=False, capture_output=True)
        if found := _on_this_machine():
            return found
    built = CACHE / "libfaketime"
    if not built.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(built)]
        subprocess.run([*command, "libfaketime"], check=False, capture_output=True)
    for one in sorted(built.rglob("libfaketimeMT*.so*")) + sorted(built.rglob("libfaketime*.so*")):
        return one
    pytest.fail("no libfaketime here, and none could be brought: install the package libfaketime")


def _on_this_machine() -> Path | None:
    for place in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        return place
    return None
