"""Every process of the cluster is restarted in turn, under load: nobody notices."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.monitor.storage import AsgardStorage

from tests.cluster.balancing import balanced
from tests.cluster.processes import a_cluster, eventually
from tests.cluster.truth import settled
from tests.cluster.watchers import all_saw_everything, watchers

pytestmark = pytest.mark.timeout(300)  # on a busy machine

SAVERS = 4


class Scripts:
    """Scripts that save through the library until `stopping`; any failure is theirs to raise."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.stopping = False
        self.names: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.calls = 0

    async def until(self, calls: int) -> None:
        """Wait until so many calls have been answered."""

        async def answered() -> bool:
            return self.calls >= calls

        await eventually(answered, 60.0, what="that the scripts go on")

    def script(self, seed: int) -> None:
        """One of them: runs with results, read again, listed, renamed, finished, deleted."""
        chance = random.Random(seed)
        storage = AsgardStorage(self.where)
        while not self.stopping:
            run = storage.create_run(name=f"run {chance.random()}")
            for _ in range(chance.randrange(1, 4)):
                result = storage.add_result(
                    run, result_type="Solution1D", data={"x": [0, 1], "computed": [1, 2]}
                )
                self.owners[result.id] = run.id
            storage.update_run(run, name=f"renamed {chance.random()}")
            assert len(storage.get_run_with_results(run.id).results) == len(run.results)
            assert storage.list_runs(limit=5)
            storage.finish_run(run)
            self.names[run.id] = run.name
            self.calls += 6
            if chance.random() < 0.2:
                storage.delete_run(run.id)
                del self.names[run.id]
                self.owners = {k: v for k, v in self.owners.items() if v != run.id}


async def test_a_rolling_restart_fails_no_call_and_loses_no_event(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            a_cluster(tmp_path, replicas=2, gateways=2, **engines)
        )
        services = await stack.enter_async_context(
            balanced(*(replica.port for replica in cluster.replicas))
        )
        urls = [gateway.url for gateway in cluster.gateways]
        watching = await stack.enter_async_context(watchers(40, *urls))
        scripts = Scripts(f"grpc://127.0.0.1:{services.port}")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(SAVERS):
                seed = chance.randrange(2**32)
                tasks.create_task(asyncio.to_thread(scripts.script, seed))
            try:
                for process in (*cluster.replicas, *cluster.gateways):
                    await scripts.until(scripts.calls + chance.randrange(20, 60))
                    await process.restart()
                await scripts.until(scripts.calls + 20)
            finally:
                scripts.stopping = True
        print(f"{scripts.calls} calls")
        truth = await settled(cluster, engines["s3"])
        runs = {key[1]: body["name"] for key, body in truth.documents.items() if key[0] == "run"}
        assert runs == scripts.names
        assert {k[1]: v for k, v in truth.rows.items() if k[0] == "result"} == scripts.owners
        await all_saw_everything(watching, truth.log)
