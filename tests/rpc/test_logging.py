"""The log of real processes: what is on standard error, line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import a_connection
from tests.rpc.authorities import Authority, files_of
from tests.rpc.process import a_server

EVERYTHING_AT_ONCE = """
import asyncio, gc, logging, sys, threading, warnings
import asgard_server.processes.listening  # gRPC comes before the log, as in a process
from pathlib import Path
from asgard_server.logging import configure

configure("info", "json", service="run", replica="run-1")

import grpc, structlog
from asgard_server.rpc import requests
from asgard_server.rpc.credentials import CertificateFiles, Certificates, server_credentials

log = structlog.get_logger("asgard.test")

class Named:
    request_id = "seven"
    trace = (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)

async def raises():
    raise KeyError("never awaited for")

async def within_a_request():
    requests.bind(Named())
    log.info("within", many="lines\\nof \\u2028 text", path=Path("/a/b"))
    logging.getLogger("uvicorn.error").warning("of a library: %s", 1)
    await asyncio.to_thread(log.info, "in a thread")

async def calls_nobody_answers():
    folder = Path(sys.argv[1])
    files = CertificateFiles(folder / "tls.crt", folder / "tls.key")
    server = grpc.aio.server()
    async def fail(request, context):
        raise ValueError("in a handler")
    handlers = {"M": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    secure = server.add_secure_port("127.0.0.1:0", server_credentials(Certificates(files)))
    plain = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for port in (secure, plain):  # the first is refused in the handshake
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                await channel.unary_unary("/a.B/M")(b"", timeout=5)
            except grpc.aio.AioRpcError:
                pass
    await server.stop(0)

async def main():
    task = asyncio.create_task(raises())
    await asyncio.create_task(within_a_request())
    del task
    gc.collect()
    await asyncio.sleep(0)
    await calls_nobody_answers()
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.05)

class Unpleasant:
    def __del__(self):
        raise OSError("while it was deleted")

def in_a_thread():
    raise RuntimeError("in a thread")

asyncio.run(main())
warnings.warn("of something old", stacklevel=1)
thread = threading.Thread(target=in_a_thread, name="worker")
thread.start()
thread.join()
Unpleasant()
raise LookupError("the end of it")
"""


def lines_of(standard_error: str) -> list[dict[str, Any]]:
    """Every line as the object it must be."""
    found = []
    for line in standard_error.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            raise AssertionError(f"this line is not JSON: {line}") from None
        assert {"time", "level", "event"} <= found[-1].keys()
        assert datetime.fromisoformat(found[-1]["time"]).tzinfo is not None
    return found


def test_whatever_a_process_says_is_one_object_a_line(tmp_path: Path) -> None:
    files_of(tmp_path, Authority("ours").pair("run"))
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING_AT_ONCE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    said = lines_of(done.stderr)
    assert all((line["service"], line["replica"]) == ("run", "run-1") for line in said)
    within = [line for line in said if "request_id" in line]
    assert [line["event"] for line in within] == ["within", "of a library: 1", "in a thread"]
    assert {line["request_id"] for line in within} == {"seven"}
    assert {line["trace_id"] for line in within} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert within[0]["many"] == "lines\nof \u2028 text"
    assert within[1]["logger"] == "uvicorn.error"
    for kind, level in (
        ("never awaited for", "error"),
        ("in a handler", "error"),
        ("ZeroDivisionError", "error"),
        ("in a thread", "critical"),
        ("while it was deleted", "error"),
        ("the end of it", "critical"),
    ):
        (line,) = [each for each in said if kind in each.get("exception", "")]
        assert line["level"] == level
    assert [line["level"] for line in said if "of something old" in line["event"]] == ["warning"]


async def test_the_lines_of_a_server_carry_the_id_of_their_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGARD_LOG_FORMAT", "json")
    monkeypatch.setenv("ASGARD_LOG_LEVEL", "debug")
    monkeypatch.delenv("GRPC_VERBOSITY")
    missing, log = "018f0000-0000-7000-8000-000000000000", tmp_path / "log"
    async with (
        a_server(tmp_path / "storage", log) as server,
        httpx.AsyncClient(base_url=server.page, trust_env=False) as client,
    ):
        for number in range(3):
            headers = {"x-request-id": f"request-{number}"}
            answer = await client.get(f"/v1/runs/{missing}", headers=headers)
            assert answer.status_code == 404
        # No request of HTTP/2 at all: gRPC's core has something to say about it.
        host, _, port = server.address.rpartition(":")
        async with a_connection(host, port) as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await writer.drain()
        assert await server.end() == 0
    said = lines_of(log.read_text())
    calls = [line for line in said if line.get("reason") == "RUN_NOT_FOUND"]
    assert [line["request_id"] for line in calls] == ["request-0", "request-1", "request-2"]
