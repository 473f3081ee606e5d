"""The monitor beside the examples: `asgard monitor` in a process of its own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from typing import IO

import typer
from gimle.asgard.cli.interrupting import INTERRUPTED, Interruptions
from gimle.asgard.cli.speaking import FAILED, error_console, fail
from rich.console import Console

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 15.0

_ADDRESS = re.compile(r'https?://[^\s"]+')


class MonitorProcess:
    """A monitor that answers at `page`."""

    def __init__(self, process: subprocess.Popen[str], page: str) -> None:
        self.process = process
        self.page = page

    @classmethod
    def start(
        cls, storage: str, port: int | None, browser: bool, interruptions: Interruptions
    ) -> MonitorProcess:
        """Start one and wait until it answers; one that already shows `storage` is used.

        Ends the command with status 1 when it cannot start; the monitor has then said why.
        """
        command = [sys.executable, "-m", "gimle.asgard.cli.beside", str(os.getpid()), "monitor"]
        command += ["--storage", storage]
        if port is not None:
            command += ["--port", str(port)]
        if not browser:
            command.append("--no-browser")
        # A group of its own: a terminal's Ctrl-C reaches us alone, and we end it once, in order.
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, process_group=0
        )
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        lines: queue.Queue[str | None] = queue.Queue()
        # The pipe is read to its end, so that the monitor never waits for a reader.
        threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
        monitor = cls(process, "")
        try:
            monitor._wait(lines, interruptions)
        except BaseException:
            monitor.stop()
            raise
        error_console().print(f"Watch at {monitor.page}", markup=False)
        return monitor

    def _wait(self, lines: queue.Queue[str | None], interruptions: Interruptions) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.page:
            if interruptions.stop.is_set():
                raise typer.Exit(INTERRUPTED)
            if time.monotonic() > deadline:
                fail(f"the monitor did not start within {READY_WITHIN_S:.0f} s")
            try:
                line = lines.get(timeout=0.1)
            except queue.Empty:
                continue
            if line is None:
                # It ended without an address: what was wrong is on stderr already.
                self.process.wait()
                raise typer.Exit(FAILED)
            found = _ADDRESS.search(line)
            if found:
                self.page = found[0].rstrip(".,")

    def keep_up(self, out: Console, interruptions: Interruptions) -> None:
        """Stay until Ctrl-C; at once when a monitor of somebody else already shows the folder."""
        out.print(f"The monitor stays up at {self.page}; Ctrl-C ends it.", markup=False)
        out.file.flush()
        while not interruptions.stop.wait(0.2):
            if self.process.poll() is None:
                continue
            if self.process.returncode != 0:
                fail(f"the monitor ended by itself (status {self.process.returncode})")
            # It found another monitor of this folder, named it, and was not needed.
            return

    def stop(self) -> None:
        """End the monitor we started, and wait for it."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _pass_on(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
