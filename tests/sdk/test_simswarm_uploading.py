"""A pod's files reach the store by their URLs, or it is said why not."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.transfer import Progress, TransferStoppedError, line
from gimle.asgard.transfer.requesting import ONE_REQUEST_BYTES
from simswarm import upload_artifacts
from simswarm.grants import upload_urls
from simswarm.samples import write
from simswarm.storage import SIM_DATA_FILES, SimDataStorage
from simswarm.uploading import ATTEMPTS, PAUSE_S, SILENCE_S, SentFile

from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store
from tests.rpc.authorities import Authority, files_of
from tests.sdk.put_server import CUT, SILENT, PutServer, a_put_server

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
SIGNATURE = "X-Amz-Signature"


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]()


@pytest.fixture
def server() -> Iterator[PutServer]:
    with a_put_server() as server:
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("posts.json", "trades.json"):
        (folder / name).write_text(f'["{name}"]')
    return folder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simswarm.uploading.PAUSE_S", 0.01)


def signed(store: Store, bucket: str, secret: str = SECRET_KEY) -> SimDataStorage:
    return SimDataStorage(f"127.0.0.1:{store.port}", ACCESS_KEY, secret, bucket, secure=False)


def outcomes(files: tuple[SentFile, ...]) -> dict[str, tuple[str, int]]:
    return {file.name: (file.outcome, file.attempts) for file in files}


def test_the_documented_patience() -> None:
    assert (ATTEMPTS, PAUSE_S, SILENCE_S) == (3, 2.0, 60.0)


def test_all_that_was_produced_arrives(store: Store, tmp_path: Path) -> None:
    written = write(tmp_path, 4, agents=30, rounds=8)
    assert "market_curves.json" not in written
    bucket = store.bucket()
    urls = signed(store, bucket).generate_upload_urls(7)
    assert urls is not None
    told: list[Progress] = []
    done = upload_artifacts(tmp_path, urls, progress=told.append)
    assert done
    assert [file.name for file in done.files] == SIM_DATA_FILES
    assert done.files[0] == SentFile("market_curves.json", "skipped")
    for file in done.files[1:]:
        assert (file.outcome, file.attempts, file.error) == ("uploaded", 1, "")
        there = store.client().get_object(Bucket=bucket, Key=f"sim-data/7/{file.name}")
        assert there["ContentType"] == "application/json"
        assert there["Body"].read() == written[file.name].read_bytes()
        assert file.size_bytes == written[file.name].stat().st_size
    total = sum(file.size_bytes for file in done.files)
    assert told[-1] == Progress(9, total, 9, total, total)


def test_an_expired_url_is_called_so(store: Store, out: Path, impatient: None) -> None:
    signer = Signer(
        Endpoint.parse(f"127.0.0.1:{store.port}", secure=False), Credentials(ACCESS_KEY, SECRET_KEY)
    )
    url = signer.presign("PUT", store.bucket(), "sim-data/1/posts.json", 1)
    time.sleep(2.1)  # the shortest life that a URL can have
    (file,) = upload_artifacts(out, {"posts.json": url}).files
    assert (file.outcome, file.attempts) == ("failed", 3)
    assert "the URL has expired at 20" in file.error
    assert "claim or resume the job" in file.error
    assert SIGNATURE not in file.error


def test_a_refusal_is_told_in_the_stores_words(store: Store, out: Path, impatient: None) -> None:
    bucket = store.bucket()
    nowhere = signed(store, "not-there").generate_upload_urls(1) or {}
    wrong = signed(store, bucket, "wrong").generate_upload_urls(1) or {}
    urls = {"posts.json": nowhere["posts.json"], "trades.json": wrong["trades.json"]}
    done = upload_artifacts(out, urls)
    assert not done
    missing, altered = (file.error for file in done.files)
    assert "NoSuchBucket" in missing
    assert "MINIO_BUCKET" in missing
    assert "SignatureDoesNotMatch" in altered
    assert "was altered" in altered
    assert SIGNATURE not in missing + altered
    assert store.keys(bucket) == []


@pytest.mark.parametrize(
    ("answers", "outcome", "attempts"),
    [
        ([200], "uploaded", 1),
        ([204], "uploaded", 1),
        ([500, 503, 200], "uploaded", 3),
        ([CUT, 200], "uploaded", 2),
        ([500], "failed", 3),
        ([403], "failed", 3),
        ([CUT], "failed", 3),
        ([201], "failed", 3),
        ([307], "failed", 3),
    ],
)
def test_three_attempts_and_no_more(
    server: PutServer, out: Path, impatient: None, answers: list[int], outcome: str, attempts: int
) -> None:
    server.answers["posts.json"] = answers
    done = upload_artifacts(out, server.urls("posts.json", "trades.json"))
    assert outcomes(done.files) == {
        "posts.json": (outcome, attempts),
        "trades.json": ("uploaded", 1),
    }
    assert bool(done) == (outcome == "uploaded")
    assert server.attempts("posts.json") == attempts
    if done:
        assert server.bodies["posts.json"] == b'["posts.json"]'
        assert server.kinds["posts.json"] == "application/json"
    else:
        assert done.files[0].error
        assert SIGNATURE not in done.files[0].error


def test_two_seconds_lie_between_attempts(server: PutServer, out: Path) -> None:
    server.answers["posts.json"] = [500, 200]
    assert upload_artifacts(out, server.urls("posts.json"))
    first, second = server.times["posts.json"]
    assert second - first >= 2.0


@pytest.mark.usefixtures("impatient")
def test_a_silent_store_has_failed(
    server: PutServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simswarm.uploading.SILENCE_S", 0.5)
    server.answers["posts.json"] = [SILENT]
    (file,) = upload_artifacts(out, server.urls("posts.json")).files
    assert (file.outcome, file.attempts) == ("failed", 3)
    assert "silent for 0.5 s" in file.error


@pytest.mark.usefixtures("impatient")
def test_over_tls_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority("stores")
    files = files_of(tmp_path / "tls", authority.pair("store"), authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert files.certificate is not None
    context.load_cert_chain(files.certificate, files.key)
    body = os.urandom(3 << 20)
    (tmp_path / "posts.json").write_bytes(body)
    (tmp_path / "trades.json").write_bytes(body)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    monkeypatch.setattr("simswarm.uploading.SILENCE_S", 1.5)
    line.trusted.cache_clear()
    told: list[Progress] = []
    with a_put_server(context) as server:
        server.answers["trades.json"] = [SILENT]
        urls = server.urls("posts.json", "trades.json")
        posts, trades = upload_artifacts(tmp_path, urls, progress=told.append).files
    line.trusted.cache_clear()
    assert (posts.outcome, server.bodies["posts.json"]) == ("uploaded", body)
    assert (trades.outcome, trades.attempts) == ("failed", 3)
    assert "silent for 1.5 s" in trades.error
    assert told[-1].bytes_done == len(body)


def test_a_store_that_refuses_early_is_heard(
    server: PutServer, tmp_path: Path, impatient: None
) -> None:
    (tmp_path / "posts.json").write_bytes(b"x" * (1 << 20))
    server.answers["posts.json"] = [CUT, CUT, 200]
    told: list[Progress] = []
    assert upload_artifacts(tmp_path, server.urls("posts.json"), progress=told.append)
    assert server.bodies["posts.json"] == b"x" * (1 << 20)
    assert told[-1].bytes_done == 1 << 20, "what was sent in vain does not count"
    assert told[-1].bytes_moved >= 1 << 20


def test_nothing_produced_is_no_success(server: PutServer, tmp_path: Path) -> None:
    done = upload_artifacts(tmp_path, server.urls("posts.json", "trades.json"))
    assert not done
    assert not done.produced
    assert {file.outcome for file in done.files} == {"skipped"}
    assert not upload_artifacts(tmp_path / "not there", server.urls("posts.json"))
    assert not server.times


def test_what_is_no_file_fails_without_asking(server: PutServer, out: Path) -> None:
    (out / "profiles.json").mkdir()
    (out / "relations.json").symlink_to("nowhere")
    done = upload_artifacts(out, server.urls("posts.json", "profiles.json", "relations.json"))
    assert not done
    assert outcomes(done.files) == {
        "posts.json": ("uploaded", 1),
        "profiles.json": ("failed", 0),
        "relations.json": ("failed", 0),
    }
    assert list(server.times) == ["posts.json"]


def test_an_empty_file_is_a_file(server: PutServer, tmp_path: Path) -> None:
    (tmp_path / "posts.json").touch()
    assert upload_artifacts(tmp_path, server.urls("posts.json"))
    assert server.bodies == {"posts.json": b""}


def test_more_than_one_put_takes_is_refused_beforehand(server: PutServer, out: Path) -> None:
    with (out / "chat_log.json").open("wb") as file:
        file.truncate(ONE_REQUEST_BYTES + 1)
    (file_,) = upload_artifacts(out, server.urls("chat_log.json")).files
    assert (file_.outcome, file_.attempts) == ("failed", 0)
    assert "one request carries at most 5,000,000,000; leave less in it" in file_.error
    assert not server.times


@pytest.mark.parametrize("name", ["../posts.json", "/etc/passwd", "a/b", "a\\b", "..", "", "a\nb"])
def test_a_name_does_not_lead_out_of_the_folder(server: PutServer, out: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a file's name"):
        upload_artifacts(out, {"posts.json": server.url, name: server.url})
    assert not server.times, "not even what was right is sent"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://a/b\r\nx: y", "posts", "http://ü/", 7]
)
def test_only_addresses_of_http_are_asked(out: Path, url: Any) -> None:
    with pytest.raises(ValueError, match=r"posts\.json is not a URL"):
        upload_artifacts(out, {"posts.json": url})


def test_it_stops_when_it_is_told_to(server: PutServer, out: Path) -> None:
    server.answers["posts.json"] = [500]
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(TransferStoppedError):
        upload_artifacts(out, server.urls("posts.json"), stop=stop)
    assert server.attempts("posts.json") == 1
    assert time.monotonic() - begun < 10


MEASURED = """
import resource, sys
from simswarm import upload_artifacts
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert upload_artifacts(sys.argv[1], {"chat_log.json": sys.argv[2]})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_file_is_not_read_whole(server: PutServer, tmp_path: Path) -> None:
    with (tmp_path / "chat_log.json").open("wb") as file:
        file.truncate(256 << 20)
    server.keeps = False
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path, server.url + "/chat_log.json"],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert int(said.stdout) < 32 << 10, "KiB more than before"


def test_a_pod_loads_no_more_than_it_needs() -> None:
    asks = (
        "import sys; from simswarm import upload_artifacts; import simswarm.grants; "
        "print([name for name in ('grpc', 'google', 'numpy', 'orjson', 'rich') "
        "if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", asks], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "[]\n"


URLS = {"posts.json": "http://a/posts.json"}


@pytest.mark.parametrize(
    "told",
    [
        URLS,
        {"upload_urls": URLS, "seed": "anything"},
        {"job": {"id": 1}, "lease_token": "t", "uploads": {"files": URLS, "expires_at": "2026"}},
        {"uploads": {"files": URLS}},
    ],
)
def test_urls_are_found_in_what_a_worker_is_told(told: Any) -> None:
    assert upload_urls(json.dumps(told)) == URLS


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no upload URLs"),
        ("{}", "no upload URLs"),
        ('{"upload_urls": {}}', "no upload URLs"),
        ('{"posts.json": 1}', "not every file"),
        ('{"upload_urls": null}', "no object store"),
        ('{"job": {"id": 1}, "lease_token": "t"}', "no object store"),
    ],
)
def test_what_holds_no_urls_is_refused(told: str | bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        upload_urls(told)


def run(*words: str | Path, said: str = "", status: int = 0) -> tuple[str, str]:
    answer = subprocess.run(
        [sys.executable, "-m", "gimle.asgard.cli", "sim-data", "upload", *words],
        input=said,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert answer.returncode == status, answer.stdout + answer.stderr
    return answer.stdout, answer.stderr


def test_the_command_answers_in_json(server: PutServer, out: Path, tmp_path: Path) -> None:
    urls = server.urls("market_curves.json", "posts.json", "trades.json")
    (tmp_path / "urls.json").write_text(json.dumps({"upload_urls": urls}))
    said, _ = run(out, "--grants", tmp_path / "urls.json")
    sent, absent = said.splitlines()[-1].split("; ")
    assert said.splitlines()[:2] == ["posts.json  14 bytes", "trades.json  15 bytes"]
    assert (sent, absent) == ("2 file(s) sent, 29 bytes", "1 were not produced")
    said, warned = run(out, "--grants", "-", "--json", said=json.dumps(urls))
    answer = json.loads(said)
    assert answer["sim_data_uploaded"] is True
    assert answer["files"][0]["outcome"] == "skipped"
    assert answer["files"][1] == {
        "name": "posts.json",
        "outcome": "uploaded",
        "size_bytes": 14,
        "attempts": 1,
        "error": "",
    }
    assert warned == ""


def test_each_ending_has_its_status(server: PutServer, out: Path, tmp_path: Path) -> None:
    server.answers["posts.json"] = [403]
    urls = json.dumps(server.urls("posts.json", "trades.json"))
    said, warned = run(out, "--grants", "-", "--json", said=urls, status=1)
    assert json.loads(said)["sim_data_uploaded"] is False
    assert [row["attempts"] for row in json.loads(said)["files"]] == [3, 1]
    assert "posts.json: refused with 403" in warned
    assert "(tried 3 times)" in warned
    assert SIGNATURE not in said + warned

    (tmp_path / "empty").mkdir()
    said, warned = run(tmp_path / "empty", "--grants", "-", "--json", said=urls, status=3)
    assert json.loads(said)["sim_data_uploaded"] is False
    assert "none of the 2 files" in warned

    assert "does not exist" in run(tmp_path / "nowhere", "--grants", "-", said=urls, status=2)[1]
    assert "not JSON" in run(out, "--grants", "-", said="urls", status=2)[1]
    assert "cannot be read" in run(out, "--grants", tmp_path / "no.json", status=2)[1]
    assert (
        "not a file's name" in run(out, "--grants", "-", said='{"../x": "http://a/"}', status=2)[1]
    )


def test_the_command_can_be_stopped(server: PutServer, out: Path) -> None:
    server.answers["posts.json"] = [500]
    process = subprocess.Popen(
        [sys.executable, "-m", "gimle.asgard.cli", "sim-data", "upload", out, "--grants", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(server.urls("posts.json")))
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not server.attempts("posts.json") and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert process.stderr is not None
    assert "stopped" in process.stderr.read()
    process.stderr.close()
