"""Connections that grow old: new calls find replicas that came later, and no stream is cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Thread

import grpc
import httpx
import pytest
from asgard_server.rpc import server
from gimle.asgard.core.watching import Event
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from tests.cluster.balancing import balanced
from tests.cluster.processes import Gateway, variables
from tests.cluster.watchers import watchers
from tests.conftest import free_port
from tests.engines import postgres
from tests.rpc.running import OPTIONS, a_service, eventually

AGE = "grpc.max_connection_age_ms"
SHORT_MS = 500
RUNS = 60
BEFORE = ["reset", "snapshot_end"]  # the snapshot of a storage that is empty


def test_connections_grow_old_and_calls_are_given_all_the_time_they_need() -> None:
    options = dict(server.OPTIONS)
    assert options[AGE] == 300_000
    assert "grpc.max_connection_age_grace_ms" not in options


async def test_calls_move_to_a_new_replica_and_watches_miss_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "OPTIONS", tuple({**dict(server.OPTIONS), AGE: SHORT_MS}.items()))
    dsn, late = await postgres.database_of(tmp_path), free_port()
    shared = {"database_url": dsn, "replica": "one of two"}
    stopping = asyncio.Event()
    async with (
        a_service(tmp_path / "storage", **shared) as first,
        balanced(int(first.service.address.rpartition(":")[2]), late) as services,
    ):
        address = f"127.0.0.1:{services.port}"
        storage = AsgardStorage(f"grpc://{address}")
        gateway = Gateway(
            [address], variables({"log_format": "json", "log_level": "info"}), tmp_path / "log"
        )
        heard: list[Event] = []

        def follow() -> None:
            for event in storage.watch():
                heard.append(event)
                if len(heard) == len(BEFORE) + 2 * RUNS:
                    return

        async def call() -> int:
            """Callers that repeat nothing: any failure is theirs to raise."""
            async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
                stub = pb_grpc.RunServiceStub(channel)
                count = 0
                while not stopping.is_set():
                    await stub.ListRuns(pb.ListRunsRequest(page_size=1), timeout=10)
                    count += 1
                    await asyncio.sleep(0.005)
                return count

        await gateway.start()
        try:
            async with (
                watchers(2, gateway.url) as pages,
                httpx.AsyncClient(base_url=gateway.url, timeout=20) as client,
                asyncio.TaskGroup() as tasks,
            ):
                # A daemon: it would wait for the service's return for ever.
                Thread(target=follow, daemon=True).start()
                calling = [tasks.create_task(call()) for _ in range(3)]

                async def save(names: list[str]) -> list[str]:
                    made = []
                    for name in names:
                        run = await asyncio.to_thread(storage.create_run, name=name)
                        made.append(run.id)
                        assert (await client.get("/api/runs")).status_code == 200
                        await asyncio.sleep(0.1)
                    return made

                await eventually(lambda: len(heard) == len(BEFORE))
                ids = await save([f"{n}" for n in range(RUNS)])
                assert set(services.taken) != {late}
                async with a_service(tmp_path / "storage", grpc_port=late, **shared):
                    ids += await save([f"more {n}" for n in range(RUNS)])
                    await eventually(lambda: len(heard) == len(BEFORE) + len(ids), 30)
                    stopping.set()
                    calls = sum(await asyncio.gather(*calling))
                    for page in pages:
                        await page.reach(pages[0].began + len(ids))
            print(f"{calls} calls, connections {services.taken}")
            assert calls > 100
            # Each grew old, often; and some of what came then went to the replica that was new.
            assert services.taken.total() > 20
            assert services.taken[late] > 3
            assert [event.kind for event in heard] == [*BEFORE, *["update"] * len(ids)]
            assert [event.object_id for event in heard[len(BEFORE) :]] == ids
            for page in pages:
                seen = page.seen()
                assert [each.object_id for each in seen] == ids
                assert [each.revision for each in seen] == list(
                    range(page.began + 1, page.began + len(ids) + 1)
                )
                assert page.connections == 1
            # Not one of them had to resume.
            ended = [line for line in gateway.logged() if line["event"] == "watch_ended"]
            assert not [line for line in ended if line["log"] == "runs"]  # nobody serves jobs here
        finally:
            await gateway.kill()
            print(gateway.said()[-3000:])
    postgres.give_back(tmp_path)
