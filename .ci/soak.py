"""Repeat the tests that live on chance until the time is over, or one of them fails.

    python .ci/soak.py MINUTES [pytest arguments]

Crowds, deaths, restarts and generated values differ from round to round; each test prints its
seed, and a failure ends the soak with pytest's own words. Replicas are killed 20 times a round, in
the middle of 500 saves each: ten rounds are the 200 deaths that are promised.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BY_CHANCE = (
    "tests/rpc/test_watch_property.py",
    "tests/contract/test_storage_crash.py",
    "tests/contract/test_blob_crash.py",
    "tests/contract/test_storage_arrays.py",
    "tests/contract/test_storage_append.py",
    "tests/contract/test_index_search.py",
    "tests/unit/store",
    "tests/unit/core",
    "tests/unit/render",
    "tests/unit/signing",
    "tests/cluster",
    "tests/sdk/test_killed_uploads.py",
    # Not of chance, but of minutes: its provider is a large one.
    "tests/soak/keycloak_sign_in.py",
)
# What tests take from their environment where there is more time than in `make test`.
MORE = {
    "TESTS_ROUNDS": "20",
    "TESTS_WRITES": "500",
    "TESTS_EXAMPLES": "1500",
    "TESTS_CHANGES": "10000",
    "TESTS_UPLOAD_MIB": "2048",
}


def soak(minutes: float, arguments: list[str]) -> int:
    """Run rounds of them for `minutes`, one round at least; answer pytest's exit status."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *BY_CHANCE, *arguments]
    environ = MORE | os.environ
    end = time.monotonic() + 60 * minutes
    rounds = 0
    while True:
        rounds += 1
        print(
            f"round {rounds}, {max(0.0, end - time.monotonic()) / 60:.0f} minutes left", flush=True
        )
        done = subprocess.run(command, cwd=ROOT, env=environ, check=False)  # noqa: S603 - our own tests
        status = done.returncode
        if status != 0 or time.monotonic() > end:
            return status


if __name__ == "__main__":
    sys.exit(soak(float(sys.argv[1]), sys.argv[2:]))
