"""Folders that may only be read, and folders that are not to be touched."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from asgard_server.all_in_one import serve
from asgard_server.settings import Settings
from gimle.asgard import AsgardStorage
from gimle.asgard.client.connection import PATIENCE_SECONDS
from gimle.asgard.core.errors import StorageReadOnlyError, StorageUnavailableError
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from tests.rpc.process import a_server
from tests.rpc.running import eventually, refused


def held_by_modes() -> list[str]:
    """The words before a command that let the modes of files hold for it, also if we are root."""
    powers = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]
    return drop if os.geteuid() == 0 else []


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


async def test_a_folder_that_may_only_be_read_is_shown_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "archive"
    storage = AsgardStorage(folder)
    run = storage.save_simulation_result(
        "kept", "Solution1D", {"x": np.arange(5e3), "computed": np.arange(5e3)}
    )
    # As a copy brings it, without what belongs to those who write.
    for path in sorted((folder / ".asgard").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / ".asgard").rmdir()
    before = names(folder)
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        async with (
            a_server(folder, before=held_by_modes()) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub: Any = pb_grpc.RunServiceStub(channel)

            async def listed() -> list[str]:
                answer = await stub.ListRuns(pb.ListRunsRequest())
                return [each.name for each in answer.runs]

            # Its index is made behind the start.
            await eventually(listed)
            assert await listed() == ["kept"]
            found = await stub.GetRun(pb.GetRunRequest(run_id=run.id))
            assert found.run.result_count == 1
            drawn = await stub.RenderResult(
                render_pb.RenderResultRequest(result_id=run.result_ids[0])
            )
            assert b'"line"' in drawn.body.data
            for write in (
                stub.DeleteRun(pb.DeleteRunRequest(run_id=run.id)),
                stub.CreateRun(pb.CreateRunRequest(name="new")),
                stub.UpdateRun(pb.UpdateRunRequest(run_id=run.id, note="new")),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await write
                code, reason, metadata = refused(caught.value)[:3]
                assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STORAGE_READ_ONLY")
                assert "allow this user to write there" in metadata["mend"]
            # A library is refused at once: waiting mends nothing.
            began = time.monotonic()
            with pytest.raises(StorageReadOnlyError, match="may only be read"):
                await asyncio.to_thread(
                    AsgardStorage(f"grpc://{server.address}").add_result, run, "Any", {"x": 1}
                )
            assert time.monotonic() - began < PATIENCE_SECONDS / 2
        assert names(folder) == before
        assert list((tmp_path / "cache").rglob("index.sqlite3"))
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)


async def test_nothing_is_made_in_a_folder_of_a_newer_format(tmp_path: Path) -> None:
    (tmp_path / ".asgard_metadata.json").write_text('{"format": 2, "storage_id": "x"}')
    with pytest.raises(StorageUnavailableError, match="upgrade gimle-asgard"):
        await serve(Settings(storage=tmp_path, port=0, grpc_port=0))
    assert os.listdir(tmp_path) == [".asgard_metadata.json"]
