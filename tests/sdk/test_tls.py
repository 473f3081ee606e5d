"""AsgardStorage("grpcs://..."): a service with TLS, and certificates that are rotated."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from gimle.asgard.core.errors import InvalidFieldError, StorageUnavailableError
from gimle.asgard.monitor.storage import AsgardStorage

from tests.rpc.authorities import Authority, Pair, files_of, replace
from tests.sdk.servers import Server

OURS, THEIRS = Authority("ours"), Authority("theirs")
VARIABLES = ("ASGARD_TLS_CA_FILE", "ASGARD_TLS_CERT_FILE", "ASGARD_TLS_KEY_FILE")


@dataclass(frozen=True)
class Ours:
    """What this process, a client, has in its environment."""

    folder: Path
    environment: pytest.MonkeyPatch

    def trusts(self, authority: Authority) -> None:
        """Believe whom it has signed."""
        replace(self.folder / "ca.crt", authority.certificate)
        self.environment.setenv(VARIABLES[0], str(self.folder / "ca.crt"))

    def shows(self, pair: Pair) -> None:
        """Show a certificate."""
        files = files_of(self.folder, pair)
        self.environment.setenv(VARIABLES[1], str(files.certificate))
        self.environment.setenv(VARIABLES[2], str(files.key))


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ours:
    folder = tmp_path / "client"
    folder.mkdir()
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return Ours(folder, monkeypatch)


@pytest.fixture
def where(tmp_path: Path) -> Iterator[str]:
    """Where a service listens that wants to know its clients."""
    files = files_of(tmp_path / "server", OURS.pair("run"), OURS)
    server = Server(tmp_path / "storage")
    with pytest.MonkeyPatch.context() as environment:
        for variable, path in zip(
            VARIABLES, (files.authority, files.certificate, files.key), strict=True
        ):
            environment.setenv(variable, str(path))
        server.start()
    yield server.where.replace("grpc://", "grpcs://")
    server.end()


def refused(where: str) -> None:
    """See a new client refused."""
    with pytest.raises(StorageUnavailableError):
        AsgardStorage(where, patience=0).list_runs()


def test_who_shows_a_certificate_is_served_and_others_are_not(where: str, ours: Ours) -> None:
    ours.trusts(OURS)
    refused(where)
    ours.shows(THEIRS.pair("stranger"))
    refused(where)
    ours.shows(OURS.pair("author"))
    storage = AsgardStorage(where)
    run = storage.create_run("over TLS")
    assert [each.id for each in storage.list_runs()] == [run.id]
    # Rotated on both sides of the life of a connection: what is open goes on.
    ours.shows(OURS.pair("author-2"))
    storage.add_result(run, "Anything", {"x": [1.0, 2.0]})
    replace(ours.folder / "tls.key", b"half a rotation")
    assert storage.get_run(run.id).name == "over TLS"
    ours.shows(OURS.pair("author-3"))
    assert [each.name for each in storage.list_runs()] == ["over TLS"]
    ours.trusts(THEIRS)
    refused(where)
    refused(where.replace("grpcs://", "grpc://"))


def test_files_that_cannot_be_used_are_named_before_anything_is_sent(ours: Ours) -> None:
    nowhere = "grpcs://localhost:1"
    ours.shows(OURS.pair("author"))
    replace(ours.folder / "tls.key", OURS.pair("other").key)
    with pytest.raises(InvalidFieldError, match=r"ASGARD_TLS_CERT_FILE: .*tls\.crt has another"):
        AsgardStorage(nowhere)
    ours.environment.setenv("ASGARD_TLS_KEY_FILE", str(ours.folder / "gone.key"))
    with pytest.raises(InvalidFieldError, match=r"ASGARD_TLS_KEY_FILE: .*gone\.key cannot be"):
        AsgardStorage(nowhere)
    ours.environment.delenv("ASGARD_TLS_KEY_FILE")
    with pytest.raises(InvalidFieldError, match="ASGARD_TLS_KEY_FILE: is not set"):
        AsgardStorage(nowhere)
    ours.environment.delenv("ASGARD_TLS_CERT_FILE")
    ours.trusts(OURS)
    (ours.folder / "ca.crt").write_text("no certificate")
    with pytest.raises(InvalidFieldError, match=r"ASGARD_TLS_CA_FILE: .*ca\.crt cannot be used"):
        AsgardStorage(nowhere)


def test_each_call_carries_an_id_of_its_own() -> None:
    seen: list[str] = []

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = dict(context.invocation_metadata())
        seen.append(str(metadata["x-request-id"]))
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ListRuns": grpc.unary_unary_rpc_method_handler(answer)
    }
    name = "gimle.asgard.v1.RunService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    storage = AsgardStorage(f"grpc://127.0.0.1:{port}")
    for _ in range(2):
        storage.list_runs()
    server.stop(0).wait()
    assert len(set(seen)) == 2
    assert all(len(each) == 16 for each in seen)
