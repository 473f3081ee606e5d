"""Credentials that a program lends: renewed beside the loop, and missed in words."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgard_server.processes.s3 import s3_signer
from asgard_server.settings import Settings
from asgard_server.store import s3_keys, s3_objects
from asgard_server.store.s3_bytes import S3Bytes
from asgard_server.store.s3_objects import Objects
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place, parse_url

from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY
from tests.rpc.running import eventually

SLOW_S = 1.5


class Program:
    """What is run for credentials: says what lies in `said`, after `slow_s`."""

    def __init__(self, folder: Path) -> None:
        self.path, self._said = folder / "lends", folder / "said.json"
        self._asked = folder / "asked"
        self.write()
        self.says(60)

    def write(self, slow_s: float = 0.0) -> None:
        """Make it, to take so long."""
        self.path.write_text(
            f"#!{sys.executable}\nimport time\ntime.sleep({slow_s})\n"
            f"open({str(self._asked)!r}, 'a').write('x')\n"
            f"print(open({str(self._said)!r}).read())\n"
        )
        self.path.chmod(0o700)

    def asked(self) -> int:
        """How often it has been asked, and has taken its time."""
        return len(self._asked.read_text()) if self._asked.exists() else 0

    def says(self, for_s: float) -> None:
        """Have it lend for so long. Below ten minutes botocore asks before each use."""
        until = datetime.now(UTC) + timedelta(seconds=for_s)
        keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY}
        self._said.write_text(json.dumps({"Version": 1, "Expiration": until.isoformat(), **keys}))

    def babbles(self) -> None:
        """Have it say what no credentials are."""
        self._said.write_text("sign in first")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program(tmp_path)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {shlex.quote(str(made.path))}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(s3_objects, "PATIENCE_S", 1.0)
    return made


@pytest.fixture
def place() -> Place:
    store = minio.server()
    place = replace(parse_url(f"s3://{store.bucket()}/p"), endpoint=store.endpoint)
    store.client().put_object(Bucket=place.bucket, Key=place.key("there"), Body=b"x")
    return place


Ask = Callable[[], Awaitable[object]]


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[dict[str, Ask]]:
    objects = Objects(place)
    settings = Settings.from_environment({"ASGARD_S3_ENDPOINT": str(place.endpoint)})
    numbers = iter(range(100))
    async with AsyncExitStack() as stack:
        stack.callback(objects.close)
        signer = await s3_signer(settings, time.time, stack)

        async def sign() -> object:
            return signer.presign("GET", place.bucket, place.key("there"), 60)

        held = S3Bytes(place, stack.enter_context(ThreadPoolExecutor(2)))
        stack.push_async_callback(held.close)
        yield {
            "put": lambda: objects.create(f"new-{next(numbers)}", b"{}"),
            "head": lambda: held.head("there"),
            "list": lambda: held.sizes(""),
            "sign": sign,
        }


async def longest_stop(work: Awaitable[object]) -> float:
    """How long the loop did nothing else while it waited for a piece of work."""
    longest, ended = 0.0, asyncio.Event()

    async def tick() -> None:
        nonlocal longest
        while not ended.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        assert await work
    finally:
        ended.set()
        await ticking
    return longest


@pytest.mark.parametrize("what", ["put", "head", "list"])
async def test_a_program_that_lends_credentials_stops_nobody_else(
    place: Place, program: Program, what: str
) -> None:
    async with opened(place) as ask:
        program.write(SLOW_S)
        began = time.monotonic()
        stopped = await longest_stop(ask[what]())
        assert time.monotonic() - began > SLOW_S, "it has been asked"
        assert stopped < SLOW_S / 2


async def test_urls_are_signed_while_a_program_takes_its_time_to_lend_credentials(
    place: Place, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_keys, "RENEW_S", 0.05)
    async with opened(place) as ask:
        program.write(2.0)

        async def signing() -> object:
            asked = program.asked()
            while program.asked() == asked:
                assert await ask["sign"]()
                await asyncio.sleep(0.005)
            return "and it has been asked meanwhile"

        # What others do on this machine makes a stop longer, never shorter.
        assert min([await longest_stop(signing()) for _ in range(4)]) < 0.05


@pytest.mark.parametrize("how", ["gone", "fails", "babbles", "lends what has ended"])
@pytest.mark.parametrize("what", ["put", "head", "list", "sign"])
async def test_a_program_that_lends_no_more_is_told_of_as_a_store_that_is_away(
    place: Place, program: Program, what: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_keys, "RENEW_S", 0.05)
    monkeypatch.setattr(s3_keys, "_AGAIN_S", 0.05)
    async with opened(place) as ask:
        match how:
            case "gone":
                program.path.unlink()
            case "fails":
                program.path.write_text("#!/bin/sh\nexit 1\n")
            case "babbles":
                program.babbles()
            case _:
                program.says(-60)

        async def refused() -> bool:
            try:
                await ask[what]()
            except StorageUnavailableError:
                return True
            return False

        # URLs are signed with what has been lent until it is asked for anew.
        patience = 40.0 if what == "sign" else 0.0
        await eventually(refused, patience)
        program.write()
        program.says(60)

        async def there() -> bool:
            return not await refused()

        await eventually(there, patience)
