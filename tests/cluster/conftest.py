"""What the tests of faults share: engines of the cluster, and chance with its seed printed."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from tests.engines import minio


@pytest.fixture
def engines() -> dict[str, Any]:
    """PostgreSQL, Redis and MinIO, as `a_cluster` takes them."""
    return {"database": True, "bell": True, "s3": minio.server()}


@pytest.fixture
def chance() -> random.Random:
    """Chance whose seed is printed when the test fails, and given by TESTS_SEED."""
    seed = int(os.environ.get("TESTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TESTS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def rounds() -> int:
    """How many times a process is killed: 10, or TESTS_ROUNDS."""
    return int(os.environ.get("TESTS_ROUNDS", "10"))
