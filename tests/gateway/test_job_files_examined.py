"""`asgard fsck` and the files of SimSwarm's jobs: on MinIO, on versitygw, and in a folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.processes.examining import examine
from asgard_server.settings import Settings

from tests.gateway.job_servers import HOMES, STORES, Pod, a_job, ended, files, settings_of
from tests.gateway.monitors import a_monitor

NO_TIME = timedelta(0)


def _ignored(step: str, count: int) -> None: ...


def _replaced(home: str, storage: Path, bucket: str) -> Callable[[str, bytes | None], None]:
    """What writes over a key, or removes it, behind everybody's back."""

    def in_folder(key: str, body: bytes | None) -> None:
        path = storage / key
        path.unlink(missing_ok=True)
        if body is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)

    def in_store(key: str, body: bytes | None) -> None:
        client = STORES[home]().client()
        if body is None:
            client.delete_object(Bucket=bucket, Key=key)
        else:
            client.put_object(Bucket=bucket, Key=key, Body=body)

    return in_folder if home == "local" else in_store


@pytest.mark.parametrize("home", HOMES)
async def test_files_of_jobs_that_were_written_over_or_are_gone_are_told(
    home: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = await settings_of(home, tmp_path)
    async with a_monitor(tmp_path / "storage", **given) as served:
        pod, going = Pod(served.client), Pod(served.client)
        done = await a_job(served.client)
        await pod.claim()
        await pod.done(files())
        await ended(served.client, done)
        await a_job(served.client, goal="Who loses?")
        await going.claim()
        await going.upload({"posts.json": b"[]"})

        settings = Settings(storage=served.storage, **given)
        assert (await examine(settings, _ignored, deep=True, young=NO_TIME)).report.clean

        replace = _replaced(home, served.storage, given.get("minio_bucket", ""))
        body = files()["trades.json"]
        replace(f"sim-data/{done}/trades.json", body[::-1])
        replace(f"sim-data/{done}/chat_log.json", None)
        replace(f"sim-data/{done}/notes.txt", b"?")
        replace("sim-data/999/posts.json", b"[]")
        found = await examine(settings, _ignored, repair=True, young=NO_TIME)
    told = {each.path: (each.kind, each.repaired) for each in found.report.findings}
    assert told == {
        f"sim-data/{done}/notes.txt": ("unknown_object", False),
        f"sim-data/{done}/trades.json": ("overwritten", False),
        f"sim-data/{done}/chat_log.json": ("missing_bytes", False),
        "sim-data/999/posts.json": ("unknown_object", False),
    }
