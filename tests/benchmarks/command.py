"""The command line of the benchmarks: which rows to measure, and the table at the end."""

from __future__ import annotations

import argparse
import fcntl
import importlib
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from asgard_server.logging import configure
from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Bench, Figure

# One module per row of the table, in the order measured.
ROWS = (
    "saving",
    "live",
    "creating",
    "registering",
    "rebuilding",
    "starting",
    "listing",
    "permissions",
    "run_permissions",
    "fanout",
    "opening",
    "footprint",
    "adding",
    "watching",
    "scaling",
    "losing",
    "signing",
    "granting",
    "transfers",
    "blobs",
    "pulling",
    "resuming",
    "orphans",
)
# Of ioctl(2) for files: chattr +T.
_GET_FLAGS, _SET_FLAGS, _TOP_OF_HIERARCHY = 0x80086601, 0x40086602, 0x0002_0000
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure, print, exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, help="measure this row alone")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and a tenth of the runs")
    parser.add_argument("--dir", type=Path, default=ROOT / ".cache", help="where files are made")
    asked = parser.parse_args()
    # A thousand event streams are two thousand sockets.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 16_384), limit))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(_machine(asked.dir))
    # Rows that serve from this process log as a server of theirs does, not each call.
    configure("error", "text")
    asked.dir.mkdir(parents=True, exist_ok=True)
    _spread(asked.dir)
    figures: list[Figure] = []
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.dir))
    try:
        bench = Bench(folder, quick=asked.quick, say=console.print, plots=asked.dir)
        for name in asked.only or ROWS:
            figures += _measured(bench, name, console)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(_table(figures, quick=asked.quick))
    sys.exit(0 if all(figure.met for figure in figures) else 1)


def _spread(folder: Path) -> None:
    """Have ext4 put each folder made in this one into a block group of its own choice.

    It takes no inode freed in the last minutes, and passes over all of them for each new
    file: among what an earlier run has removed, creating a file took 800 us instead of 15.
    """
    flags = bytearray(8)
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        wanted = int.from_bytes(flags, sys.byteorder) | _TOP_OF_HIERARCHY
        fcntl.ioctl(fd, _SET_FLAGS, wanted.to_bytes(8, sys.byteorder))
    except OSError:  # another file system: it has its own ways
        return
    finally:
        os.close(fd)


def _measured(bench: Bench, name: str, console: Console) -> list[Figure]:
    console.rule(name)
    began = time.monotonic()
    row = importlib.import_module(f"tests.benchmarks.rows.{name}")
    try:
        figures: list[Figure] = row.measure(bench)
    except Exception as error:  # noqa: BLE001 - a row that breaks is a miss; the others go on
        traceback.print_exc()
        figures = [Figure(name, f"failed: {error}"[:200], "", "measured", met=False)]
    for figure in figures:
        console.print(f"  {figure.what}: {figure.ours}  ({figure.target}, {figure.beside})")
    console.print(f"  took {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    return figures


def _table(figures: list[Figure], *, quick: bool) -> Table:
    title = "make bench" + (" --quick: fewer rounds, smaller folders" if quick else "")
    load, cores = os.getloadavg()[1], os.cpu_count() or 1
    caption = f"load of the last five minutes {load:.1f} on {cores} cores"
    if load > 1.5 * cores:
        caption += ": the machine was busy with other things, plain times are upper bounds"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in ("what", "Asgard", "beside it", "at least", "verdict"):
        table.add_column(column, overflow="fold")
    for figure in figures:
        verdict = "[green]met[/]" if figure.met else "[bold red]MISSED[/]"
        table.add_row(figure.what, figure.ours, figure.beside, figure.target, verdict)
    return table


def _machine(folder: Path) -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free >> 30
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}, {free} GiB free at {folder.name}"
    )
