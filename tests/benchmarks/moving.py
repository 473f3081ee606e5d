"""What rows that move files share: the files, s5cmd beside us, both timed in turns.

What else a machine does makes a round longer, never shorter: so the best round of each side counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.figures import Bench, Figure, share
from tests.engines.s3_store import ACCESS_KEY, ROOT, SECRET_KEY, Store

UP, DOWN = 1.0, 0.8
MIB = 1 << 20
CHECKED_UP = "which computes no SHA-256 of parts"
CHECKED_DOWN = "which verifies nothing"


class Files(NamedTuple):
    """Files to move: `sizes` in bytes by their paths."""

    what: str
    sizes: dict[str, int]

    @property
    def amount(self) -> tuple[float, str]:
        """How much there is, in the unit that says most: small files count one by one."""
        total = sum(self.sizes.values())
        if total < len(self.sizes) * MIB // 64:
            return len(self.sizes), "files/s"
        return total / MIB, "MiB/s"

    @property
    def heavy(self) -> bool:
        """Whether they are too many bytes to lie there several times over."""
        return sum(self.sizes.values()) > 1 << 26

    def rounds(self, bench: Bench) -> int:
        """How often they are moved: few times when they are many bytes."""
        return bench.few(3, 2) if sum(self.sizes.values()) > 1 << 29 else bench.few(9, 3)

    def write(self, folder: Path) -> None:
        """Make them, no two alike."""
        block = os.urandom(MIB)
        for number, (name, size) in enumerate(self.sizes.items()):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(number.to_bytes(4, "big")[: size - file.tell()])
                while left := size - file.tell():
                    file.write(block[:left])


def one_file() -> Files:
    """One large file."""
    return Files("256 MiB", {"one": 256 * MIB})


def small_files() -> Files:
    """Many small ones."""
    return Files("2,000 small files", {f"{number:04}.json": 2_048 for number in range(2_000)})


def a_tree(mib: int) -> Files:
    """A fourth each in one file, in files of 64 MiB, of 4 MiB, and of 256 KiB."""
    fourth = mib * MIB // 4
    sizes = {"large/one": fourth}
    for folder, each in (("shards", 64 * MIB), ("arrays", 4 * MIB), ("small", MIB // 4)):
        sizes |= {f"{folder}/{number:04}": each for number in range(fourth // each)}
    return Files(f"a tree of {mib:,} MiB", sizes)


def tree_mib(bench: Bench) -> int:
    """How large the tree is: 2 GiB, unless the run is to be quick."""
    return 512 if bench.quick else 2_048


Work = Callable[[], Any]
Turn = Callable[[int], Any]
"""Something done in a round, of which it is told the number."""


def in_turns(rounds: int, sides: Sequence[tuple[Turn, Turn]], after: Turn) -> list[list[float]]:
    """Time each pair of sides `rounds` times; answer ours, theirs, ours, theirs of each round.

    `after` is done when a round is over, and not timed.
    """
    seconds: list[list[float]] = [[] for _ in sides for _ in range(2)]
    for number in range(rounds):
        for place, pair in enumerate(sides):
            # Who comes first finds another page cache: they take turns in that too.
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                seconds[2 * place + side].append(timed(partial(pair[side], number)))
        after(number)
    return seconds


def timed(work: Work) -> float:
    """Seconds that a piece of work takes."""
    os.sync()  # what others have left to be written is not for this one to wait for
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def against_s5cmd(
    what: str, files: Files, ours: list[float], theirs: list[float], least: float, note: str
) -> Figure:
    """The figure of one direction, of the best round of each."""
    amount, unit = files.amount
    return share(
        f"{what} of {files.what}, against s5cmd",
        amount / min(ours),
        amount / min(theirs),
        least,
        unit,
        note,
    )


def say(bench: Bench, files: Files, seconds: dict[str, list[float]]) -> None:
    """Show all rounds: how far they lie apart says how quiet the machine was."""
    for what, each in seconds.items():
        bench.say(f"  {files.what}, {what}: {[round(one, 2) for one in each]} s")


def s5cmd(store: Store) -> Callable[[str, str], None]:
    """`s5cmd cp SOURCE TARGET` on a store."""
    binary = shutil.which("s5cmd")
    if binary is None:
        subprocess.run([ROOT / ".ci" / "setup-s5cmd"], check=True)
        binary = str(ROOT / ".cache" / "engines" / "bin" / "s5cmd")
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }

    def copy(source: str, target: str) -> None:
        command = [binary, "--endpoint-url", store.endpoint, "cp", source, target]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    return copy
