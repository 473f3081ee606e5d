from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
import pytest_asyncio
from asgard_server.all_in_one import PortBusyError, serve
from asgard_server.settings import Settings
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.conftest import a_connection
from tests.rpc.process import a_server
from tests.rpc.running import Running, a_result, a_service, eventually, npy, refused

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
RUN_SERVICE = "gimle.asgard.v1.RunService"


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with a_service(tmp_path / "storage") as running:
        yield running


async def health(channel: grpc.aio.Channel, name: str = RUN_SERVICE) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    status: int = (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
    return status


async def test_the_server_and_its_service_say_that_they_serve(service: Running) -> None:
    assert await health(service.channel) == SERVING
    assert await health(service.channel, "") == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(service.channel, "no.such.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_is_not_serving_while_the_folder_is_away_and_nothing_is_believed_gone(
    service: Running,
) -> None:
    request = pb.CreateRunRequest(name="kept")
    run = (await service.stub.CreateRun(request)).run
    away = service.folder.with_name("away")
    service.folder.rename(away)
    await eventually(lambda: _is(service, NOT_SERVING))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.CreateRun(pb.CreateRunRequest(name="lost"))
    code, reason, metadata = refused(caught.value)
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert metadata["mend"]
    assert not service.folder.exists()
    away.rename(service.folder)
    await eventually(lambda: _is(service, SERVING))
    assert (await service.stub.GetRun(pb.GetRunRequest(run_id=run.run_id))).run.name == "kept"
    listed = await service.stub.ListRuns(pb.ListRunsRequest())
    assert [each.name for each in listed.runs] == ["kept"]


async def _is(service: Running, status: int) -> bool:
    return await health(service.channel) == status


async def test_a_service_that_drains_says_so(service: Running) -> None:
    await service.service.drain()
    assert await health(service.channel) == NOT_SERVING


async def test_reflection_tells_the_methods_and_their_messages(service: Running) -> None:
    def reflected() -> tuple[list[str], list[str]]:
        with grpc.insecure_channel(service.service.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol(RUN_SERVICE)
            methods = [method.name for method in file.service[0].method]
            return list(database.get_services()), methods

    services, methods = await asyncio.to_thread(reflected)
    assert {RUN_SERVICE, "grpc.health.v1.Health"} <= set(services)
    assert methods == [
        method.name for method in pb.DESCRIPTOR.services_by_name["RunService"].methods
    ]


async def test_a_grpc_port_that_is_taken_is_named_if_it_was_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortBusyError) as caught:
            async with a_service(tmp_path, grpc_port=port):
                pass
        assert (caught.value.port, caught.value.option) == (port, "--grpc-port")
    assert capfd.readouterr().err == ""  # what gRPC itself would say of it is not for people


async def test_a_usual_grpc_port_that_is_taken_is_replaced_by_a_free_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr("asgard_server.processes.listening.GRPC_PORT", port)
        async with a_service(tmp_path, grpc_port=None) as running:
            assert not running.service.address.endswith(f":{port}")
            assert await health(running.channel) == SERVING
    assert capfd.readouterr().err == ""


async def test_a_page_port_that_is_taken_is_named_before_anything_is_opened(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings(storage=tmp_path / "new", port=other.getsockname()[1])
        with pytest.raises(PortBusyError) as caught:
            await serve(settings)
    assert caught.value.option == "--port"
    assert not (tmp_path / "new").exists()


def asgard(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gimle.asgard.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )


async def test_a_monitor_of_the_same_folder_is_used_and_one_of_another_is_in_the_way(
    tmp_path: Path,
) -> None:
    async with a_server(tmp_path / "one") as server:
        port = server.page.rpartition(":")[2]

        def monitor(folder: str) -> subprocess.CompletedProcess[str]:
            storage = str(tmp_path / folder)
            return asgard("monitor", "--storage", storage, "--port", port, "--no-browser")

        same = await asyncio.to_thread(monitor, "one")
        assert same.returncode == 0, same.stderr
        assert server.page in same.stdout
        other = await asyncio.to_thread(monitor, "two")
        assert other.returncode == 1
        assert f"port {port} is in use" in other.stderr
        assert "--port" in other.stderr


async def test_the_server_stops_at_a_signal_while_browsers_and_watchers_are_there(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(a_server(tmp_path))
        host, _, port = server.page.removeprefix("http://").partition(":")
        reader, writer = await stack.enter_async_context(a_connection(host, port))
        writer.write(b"GET /api/updates HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await reader.readline()
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        watch: Any = channel.unary_stream(f"/{RUN_SERVICE}/WatchRuns")
        call = watch(b"")
        await call.read()
        began = time.monotonic()
        assert await server.end() == 0
        assert time.monotonic() - began < 10
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _to_its_end(call)
        assert refused(caught.value)[:2] == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        await reader.read()


async def _to_its_end(call: Any) -> None:
    # What was said before the stop is heard first; of a new folder, that it is indexed.
    while await call.read() is not grpc.aio.EOF:
        pass


def test_a_wrong_setting_ends_the_command_without_a_traceback() -> None:
    failed = asgard("monitor", "--no-browser", ASGARD_PROT="1")
    assert failed.returncode == 1
    assert "ASGARD_PORT is one" in failed.stderr
    assert "Traceback" not in failed.stderr


class LoopLag:
    """How long the loop was kept from its work, at worst."""

    def __init__(self) -> None:
        self.worst = 0.0

    async def __aenter__(self) -> LoopLag:
        self._task = asyncio.create_task(self._probe())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _probe(self) -> None:
        # The processor's time of this thread, not the clock's: others may have the machine.
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            self.worst = max(self.worst, time.thread_time() - began)
            await asyncio.sleep(0.001)


async def test_large_requests_and_answers_do_not_hold_up_the_loop(service: Running) -> None:
    run_id = (await service.stub.CreateRun(pb.CreateRunRequest(name="big"))).run.run_id
    lists = orjson.dumps({"x": [number / 3 for number in range(400_000)]})
    arrays = {"a": npy(np.random.default_rng(1).random(4_000_000))}
    adding = [
        pb.AddResultRequest(run_id=run_id, result=a_result(data=lists)),
        pb.AddResultRequest(
            run_id=run_id,
            result=a_result(data=b'{"x":{"$array":"a"},"computed":[1]}', arrays=arrays),
        ),
    ]
    async with LoopLag() as lag:
        results = [(await service.stub.AddResult(request)).result for request in adding]
        for result in results:
            getting = pb.GetResultRequest(result_id=result.result_id)
            await service.stub.GetResult(getting)
            drawing = render_pb.RenderResultRequest(result_id=result.result_id)
            await service.stub.RenderResult(drawing)
    assert lag.worst < 0.050
