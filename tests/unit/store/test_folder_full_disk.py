"""A full disk whose room is taken between a delete and the index that is to hear of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.engines.small_disk import small_disk

ROOT = Path(__file__).resolve().parents[3]


def test_a_delete_is_indexed_as_soon_as_there_is_room_for_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 32 << 20) as disk:
        program = (sys.executable, "-m", "tests.unit.store.crowded_delete", str(disk.inside))
        done = subprocess.run(
            disk.entering(*program),
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stdout + done.stderr
