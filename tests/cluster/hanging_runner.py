"""A report runner that stops in the middle, for tests that kill its process then.

Where depends on the goal of the job; without TESTS_HANG it writes the report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from asgard_server.sim_data.report_task import plain_report


def run(
    job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
) -> None:
    """Hang behind the fetch, or behind the put, and leave a mark in the folder TESTS_HANG."""
    folder = os.environ.get("TESTS_HANG")
    if folder and job["goal"] == "behind the fetch":
        fetch("posts.json")
        _hang(folder, str(job["goal"]))
    plain_report(job, fetch, put)
    if folder:
        _hang(folder, str(job["goal"]))


def _hang(folder: str, goal: str) -> None:
    (Path(folder) / goal).touch()
    time.sleep(3_600)
