"""`asgard blob` as its users run it, against a real monitor and a real cluster's replica."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.client.blobs import Blobs
from gimle.asgard.v1 import blob_service_pb2 as pb

from tests.engines.terminal import a_terminal
from tests.sdk.blob_places import Place, asgard_blob, in_a_folder, in_s3, json_of
from tests.snippets.snippets import ROOT, python_blocks, run_python


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with in_a_folder(tmp_path_factory.mktemp("folder")) as place:
        yield place


@pytest.fixture
def where(place: Place) -> str:
    with place.blobs() as blobs:
        for blob in list(blobs.list()):
            blobs.delete(blob.name)
    return place.where


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"bytes of a")
    (folder / "deep/b.bin").write_bytes(b"b" * 100)
    return folder


def test_put_ls_stat_get_rm(where: str, results: Path, tmp_path: Path) -> None:
    said = asgard_blob("put", results, "--name", "run-7", where=where)
    assert said == "2 blobs: 110 bytes, 110 bytes sent\n"
    lines = asgard_blob("ls", where=where).splitlines()
    assert [line.split()[-1] for line in lines] == ["run-7/a.txt", "run-7/deep/b.bin"]
    assert lines[0].split()[:2] == ["10", "bytes"]
    said = asgard_blob("stat", "run-7/a.txt", where=where)
    assert hashlib.sha256(b"bytes of a").hexdigest() in said
    assert "text/plain" in said
    said = asgard_blob("get", "run-7", "--to", tmp_path / "out", where=where)
    assert said == "2 files: 110 bytes, 110 bytes fetched\n"
    assert (tmp_path / "out/run-7/a.txt").read_bytes() == b"bytes of a"
    said = asgard_blob("cp", "run-7/a.txt", "best", where=where)
    assert said == "best: 10 bytes\n"
    assert json_of(asgard_blob("cp", "run-7/a.txt", "best", "--json", where=where)) == json_of(
        asgard_blob("stat", "best", "--json", where=where)
    )
    assert asgard_blob("rm", "best", where=where) == "Deleted best\n"
    assert asgard_blob("rm", "run-7/a.txt", where=where) == "Deleted run-7/a.txt\n"
    refused = asgard_blob("rm", "--prefix", "run-7/", where=where, status=1)
    assert "Delete all blobs" in refused
    said = asgard_blob("rm", "--prefix", "run-7/", "--yes", where=where)
    assert said == "Deleted 1 blob(s), 100 bytes\n"
    assert asgard_blob("ls", "run-7/", where=where) == "No blobs below run-7/.\n"


def test_answers_in_json(where: str, results: Path, tmp_path: Path) -> None:
    put = json_of(asgard_blob("put", results, "--json", where=where))
    assert (put["bytes"], put["bytes_sent"]) == (110, 110)
    row: Any = json_of(asgard_blob("stat", "results/a.txt", "--json", where=where))
    assert row["sha256"] == hashlib.sha256(b"bytes of a").hexdigest()
    assert row["created_at"].endswith("Z")
    listed: Any = json_of(asgard_blob("ls", "--json", where=where))
    assert put["blobs"] == listed
    assert listed[0] == row
    got: Any = json_of(asgard_blob("get", "results/a.txt", "--to", tmp_path, "--json", where=where))
    assert got["files"] == [{"path": str(tmp_path / "a.txt"), **row}]
    gone = json_of(asgard_blob("rm", "--prefix", "results/", "-y", "--json", where=where))
    assert gone == {"deleted": 2, "deleted_bytes": 110, "claimed": 0}


def test_refusals_are_said_in_a_line_with_their_mend(
    where: str, results: Path, tmp_path: Path
) -> None:
    asgard_blob("put", results / "a.txt", "--name", "taken", where=where)
    refused = asgard_blob("put", results / "deep/b.bin", "--name", "taken", where=where, status=1)
    assert refused == (
        "asgard: there is already a blob taken, of other bytes\n"
        "  give another --name, or remove it: asgard blob rm taken\n"
    )
    asgard_blob("put", results / "deep/b.bin", "--name", "other", where=where)
    refused = asgard_blob("cp", "other", "taken", where=where, status=1)
    assert refused == (
        "asgard: there is already a blob taken, of other bytes\n"
        "  give another name, or remove it: asgard blob rm taken\n"
    )
    assert "no blob none" in asgard_blob("cp", "none", "more", where=where, status=1)
    refused = asgard_blob("get", "none", "--to", tmp_path, where=where, status=1)
    assert refused == "asgard: there is no blob none\n"
    assert "no blob none" in asgard_blob("stat", "none", where=where, status=1)
    assert "give a NAME or a --prefix" in asgard_blob("rm", where=where, status=1)
    assert "the step '..'" in asgard_blob("put", results, "--name", "../x", where=where, status=1)
    assert "grpc://host:port" in asgard_blob("ls", where="localhost:1", status=1)


def test_what_is_claimed_stays_and_is_counted(where: str, results: Path) -> None:
    put: Any = json_of(asgard_blob("put", results, "--json", where=where))
    ids = [put["blobs"][0]["id"]]
    with Blobs(where) as blobs:
        blobs._connection.call("ClaimBlobs", pb.ClaimBlobsRequest(blob_ids=ids, owner="asset/1"))
    refused = asgard_blob("rm", "results/a.txt", where=where, status=1)
    assert "claimed by asset/1" in refused
    asgard_blob("rm", "--prefix", "results/", "--yes", where=where, status=1)
    (left,) = asgard_blob("ls", where=where).splitlines()
    assert left.endswith("results/a.txt")
    with Blobs(where) as blobs:
        blobs._connection.call(
            "ReleaseBlobs", pb.ReleaseBlobsRequest(blob_ids=ids, owner="asset/1")
        )


def test_on_a_terminal_there_is_a_bar_and_ctrl_c_leaves_what_goes_on(
    where: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        for _ in range(160):
            file.write(os.urandom(1 << 20))
    controller, terminal = a_terminal()
    command = [sys.executable, "-m", "gimle.asgard.cli", "blob", "put", str(large)]
    with subprocess.Popen(
        [*command, "--server", where], stdout=subprocess.PIPE, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        while b"/167.8 MB" not in shown:  # the bar has begun to move
            shown += os.read(controller, 4_096)
        process.send_signal(signal.SIGINT)
        while b"goes on from here" not in shown:
            shown += os.read(controller, 4_096)
        assert process.wait(30) == 130
    os.close(controller)
    assert b"Uploading" in shown
    said = json_of(asgard_blob("put", large, "--json", where=where))
    assert said["bytes"] == 160 << 20


def test_ctrl_c_ends_the_wait_for_a_service_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        command = ["-m", "gimle.asgard.cli", "blob", "get", "run-7", "--server", where]
        getting = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
        try:
            silent.settimeout(60)
            asked, _ = silent.accept()
            with asked:
                getting.send_signal(signal.SIGINT)
                _, said = getting.communicate(timeout=60)
        finally:
            getting.kill()
            getting.wait()
    assert (getting.returncode, "stopped" in said) == (130, True), said


def test_in_a_cluster_bytes_pass_the_service_by(results: Path, tmp_path: Path) -> None:
    with in_s3(tmp_path) as place:
        assert place.relay is not None
        (results / "some.bin").write_bytes(os.urandom(3 << 20))
        asgard_blob("put", results, where=place.where)
        assert place.relay.up > 3 << 20
        asgard_blob("get", "results", "--to", tmp_path / "out", where=place.where)
        for path in (path for path in results.rglob("*") if path.is_file()):
            copy = tmp_path / "out/results" / path.relative_to(results)
            assert copy.read_bytes() == path.read_bytes()


def test_the_documentation_does_what_it_says(
    where: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoint.pt").write_bytes(b"weights")
    page = (ROOT / "docs/blobs.md").read_text()
    commands = re.findall(r"^\$ asgard blob (.*)$", page, re.MULTILINE)
    assert len(commands) == 8
    for command in commands:
        asgard_blob(*command.split(), where=where)
    assert Path("elsewhere/results/deep/b.bin").read_bytes() == b"b" * 100
    assert asgard_blob("ls", where=where) == "No blobs.\n"
    run_python(python_blocks("docs/blobs.md").replace("grpc://localhost:50051", where))
    assert asgard_blob("ls", where=where) == "No blobs.\n"
