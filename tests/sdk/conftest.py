"""`home` and `storage`: every test that asks for one of them runs once in each home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gimle.asgard import AsgardStorage

from tests.sdk.homes import HOMES, Home


@pytest.fixture(params=list(HOMES))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    with HOMES[request.param](tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def storage(home: Home) -> AsgardStorage:
    return home.open()
