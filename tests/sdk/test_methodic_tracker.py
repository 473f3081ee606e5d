"""What was being uploaded is known after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from methodic import UploadTracker

BEGIN_AND_DIE = """
import os, signal, sys
from pathlib import Path
from methodic import UploadTracker
tracker = UploadTracker(sys.argv[1])
tracker.begin(Path(sys.argv[2]), "checkpoint", "asset-1", "step 10", "exp", 2, 0)
tracker.begin(Path(sys.argv[2]), "checkpoint", "asset-2")
tracker.end("asset-2")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_uploads_of_a_process_that_was_killed_are_pending(tmp_path: Path) -> None:
    file, folder = tmp_path / "deep" / "uploads.db", tmp_path / "out"
    died = subprocess.run(
        [sys.executable, "-c", BEGIN_AND_DIE, str(file), str(folder)],
        check=False,
        env={**os.environ},
    )
    assert died.returncode == -signal.SIGKILL
    tracker = UploadTracker(file)
    (pending,) = tracker.get_pending_uploads()
    assert (pending.asset_id, pending.local_dir, pending.asset_type) == (
        "asset-1",
        folder,
        "checkpoint",
    )
    assert (pending.name, pending.experiment_id, pending.variation, pending.run) == (
        "step 10",
        "exp",
        2,
        0,
    )
    tracker.fail("asset-1", "the store was away")
    assert [each.problem for each in tracker.get_pending_uploads()] == ["the store was away"]
    tracker.forget("asset-1")
    assert tracker.get_pending_uploads() == []
    tracker.close()


def test_threads_share_a_tracker(tmp_path: Path) -> None:
    tracker = UploadTracker(tmp_path / "uploads.db")

    def work(number: int) -> None:
        for step in range(20):
            id = f"{number}-{step}"
            tracker.begin(tmp_path, "checkpoint", id)
            tracker.begin(tmp_path, "checkpoint", id)  # noted once
            if step % 2:
                tracker.end(id)
        tracker.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tracker.get_pending_uploads()) == 40
    tracker.close()
