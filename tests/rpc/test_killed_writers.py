"""Other writers of a served folder die: what they had written is shown, and goes with its run."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from gimle.asgard.core.folder import Folder
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest

from tests.rpc.running import a_service, eventually

# Dies with its result written, and its run's list not.
DIES = """
import os, signal, sys
import numpy as np
from gimle.asgard.core.folder import Folder
from gimle.asgard.monitor.storage import AsgardStorage
Folder._replace_run = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
AsgardStorage(sys.argv[1]).add_result(
    run_id="mine", result_type="Solution1D", data={"computed": np.arange(5000.0)}, id="orphan"
)
"""


async def test_a_result_whose_writer_died_before_listing_it_is_shown_and_deleted_with_its_run(
    tmp_path: Path,
) -> None:
    async with a_service(tmp_path) as service:
        await service.stub.CreateRun(pb.CreateRunRequest(run_id="mine", name="n"))
        died = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES, str(tmp_path))
        assert await died.wait() == -signal.SIGKILL
        assert Folder(tmp_path).read_run("mine").results == ()

        async def shown() -> bool:
            run = (await service.stub.GetRun(pb.GetRunRequest(run_id="mine"))).run
            return list(run.result_ids) == ["orphan"] and run.result_count == 1

        assert await eventually(shown)
        listed = await service.stub.ListResults(ListResultsRequest(run_id="mine"))
        assert [result.result_id for result in listed.results] == ["orphan"]
        await service.stub.DeleteRun(pb.DeleteRunRequest(run_id="mine"))
    for folder in ("runs", "results", "files"):
        assert list((tmp_path / folder).iterdir()) == []
    assert Folder(tmp_path).fsck().findings == []
