"""Two replicas behind one gateway answer alike, and go on with what the other has begun."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest

from tests.cluster.load import Load
from tests.cluster.processes import a_cluster

pytestmark = pytest.mark.timeout(300)  # on a busy machine

RUNS = 120


async def test_two_replicas_answer_alike_whatever_they_are_asked(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(a_cluster(tmp_path, replicas=2, **engines))
        stubs = [await stack.enter_async_context(cluster.stub(each)) for each in cluster.replicas]
        client = await stack.enter_async_context(cluster.client())
        saving = Load(stubs, chance.randrange(2**32))
        runs = []
        for number in range(RUNS):
            run_id = f"run-{number:03}"
            name = f"Sweep {number} {'even' if number % 2 == 0 else 'odd'}"
            await saving.call("CreateRun", pb.CreateRunRequest(run_id=run_id, name=name))
            runs.append(run_id)
        results = [await saving.add(chance.choice(runs)) for _ in range(30)]
        for run_id in chance.sample(runs, 10):
            await saving.rename(run_id, f"renamed {run_id}")

        async def asked(method: str, request: Any) -> Any:
            # At once, and not when a bell has rung: what is acknowledged is known to all.
            first, second = [await getattr(stub, method)(request) for stub in stubs]
            assert first == second, method
            return first

        for run_id in (*chance.sample(runs, 20), runs[0]):
            await asked("GetRun", pb.GetRunRequest(run_id=run_id))
            await asked("ListResults", ListResultsRequest(run_id=run_id))
        for result_id in results:
            await asked("GetResult", pb.GetResultRequest(result_id=result_id))
        for query in ("", "even", "renamed", "zz"):
            await asked("ListRuns", pb.ListRunsRequest(query=query, page_size=1000))

        # Pages that one begins, the other goes on with.
        seen, token = [], ""
        for turn in range(RUNS):
            page = await stubs[turn % 2].ListRuns(pb.ListRunsRequest(page_size=7, page_token=token))
            seen += [run.run_id for run in page.runs]
            token = page.next_page_token
            if not token:
                break
        assert sorted(seen) == runs
        assert len(seen) == RUNS

        # Watches too: the token of one resumes at the other.
        watch = stubs[0].WatchRuns(pb.WatchRunsRequest())
        token = (await watch.read()).resume_token
        watch.cancel()
        made = await saving.add(runs[5])
        resumed = stubs[1].WatchRuns(pb.WatchRunsRequest(resume_token=token))
        told: list[str] = []
        # The run's own document may follow: its list of results is rewritten once a second.
        while not {made, runs[5]} <= set(told):
            told += [change.object_id for change in (await resumed.read()).changes]
        resumed.cancel()
        assert {made, runs[5]} <= set(told)  # and runs whose lists were behind

        # Over REST, call by call, whichever replica it is that answers.
        answers = [(await client.get("/api/run", params={"id": runs[5]})) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
