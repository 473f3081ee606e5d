"""A service that dies at every step of an upload: one fsck afterwards leaves no byte too many.

Deaths at the ports, in one process, over all stores; test_blob_crash.py kills processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.blob import domain, limits, parts
from asgard_server.blob.completing import Completer
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.examining import Examiner
from asgard_server.blob.keeping import Keeper
from asgard_server.blob.uploading import Begun, Uploader

from tests.contract import blob_homes
from tests.contract.blob_homes import Home

BODY = b"what a simulation has computed"
MOST_STEPS = 40


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class DeadError(BaseException):
    """The process has ended here."""


@dataclass
class Death:
    """Comes at the step `at`, before it is taken or as soon as it has been."""

    at: int
    after: bool
    steps: int = 0

    def come(self, *, after: bool) -> None:
        if not after:
            self.steps += 1
        if self.steps == self.at and after == self.after:
            raise DeadError


class Mortal:
    """A port whose calls are steps: of the store, or of the table."""

    def __init__(self, port: Any, death: Death) -> None:
        self._port, self._death = port, death

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)

        async def step(*args: Any, **kwargs: Any) -> Any:
            self._death.come(after=False)
            answer = await call(*args, **kwargs)
            self._death.come(after=True)
            return answer

        return step


@pytest.fixture(params=blob_homes.HOMES)
async def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Home]:
    monkeypatch.setattr(limits, "SINGLE_BYTES", 1 << 20)
    monkeypatch.setattr(parts, "FEW_PART_BYTES", 5 << 20)
    blob_homes.known(request.param, monkeypatch)
    async with blob_homes.home(request.param, tmp_path) as opened:
        yield opened


class Life:
    """What a service does for one upload, until it dies."""

    def __init__(self, home: Home, death: Death) -> None:
        table: Any = Mortal(home.table, death)
        held: Any = Mortal(home.held, death)
        grants = home.uploader._grants
        self.home = home
        self.uploader = Uploader(table, held, grants, home.clock)
        self.completer = Completer(table, held, home.clock)
        self.keeper = Keeper(table, held, grants, home.clock)

    async def sends(self, begun: Begun, body: bytes) -> None:
        """The client's part: it does not die."""
        if begun.put is not None:
            assert (await self.home.send(begun.put, body)).status_code in (200, 412)
            return
        each = begun.blob.part_size_bytes or 0
        pieces = [body[at : at + each] for at in range(0, len(body), each)]
        asked = [(number, sha(piece)) for number, piece in enumerate(pieces, 1)]
        for grant, piece in zip(
            await self.uploader.sign_parts(begun.blob.id, asked, None), pieces, strict=True
        ):
            assert (await self.home.send(grant, piece)).status_code == 200

    async def uploads(self, new: NewUpload, body: bytes) -> None:
        (begun,) = await self.uploader.begin([new])
        await self.sends(begun, body)
        (done,) = await self.completer.complete([(begun.blob.id, None)])
        assert isinstance(done, Blob), done
        await self.keeper.copy(done.id, f"{new.name}/copy")
        await self.keeper.delete(done.id)


LARGE = os.urandom((5 << 20) + 10)
WAYS: dict[str, Callable[[str], tuple[NewUpload, bytes]]] = {
    "checked": lambda name: (NewUpload("", name, len(BODY), sha(BODY)), BODY),
    "plain": lambda name: (NewUpload("", name), BODY),
    "parts": lambda name: (NewUpload("", name, len(LARGE), sha(LARGE)), LARGE),
}


@pytest.mark.parametrize("way", list(WAYS))
async def test_after_a_death_at_any_step_one_fsck_leaves_no_byte_too_many(
    home: Home, way: str
) -> None:
    died = 0
    for at in range(1, MOST_STEPS):
        deaths = [Death(at, after) for after in (False, True)]
        for death in deaths:
            new, body = WAYS[way](f"{way}/{at}/{death.after}")
            try:
                await Life(home, death).uploads(new, body)
            except DeadError:
                died += 1
        if all(death.steps < at for death in deaths):
            break  # it lived through every step
    else:
        pytest.fail(f"an upload takes more than {MOST_STEPS} steps")
    assert died >= 16

    # All grants have ended; nobody came back for what was begun.
    home.clock.ahead = timedelta(days=2 * domain.UPLOAD_DAYS)
    await home.sweeper.sweep()
    examiner = Examiner(home.table, home.holdings, home.clock, young=timedelta())
    await examiner.examine(repair=True)
    left = await examiner.examine(deep=True)
    assert left.findings == []
    assert left.on_the_way.count == 0
    ready = [row.key for row in await home.table.page("", "", 1_000) if row.state == "ready"]
    assert sorted(await home.keys()) == sorted(ready)
    assert left.ready.count == left.read.count == len(ready)
