"""TLS between services: who is let in, and what happens when certificates are rotated."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import grpc
import pytest
from asgard_server.rpc import channel as channels
from asgard_server.rpc.channel import open_channel
from asgard_server.rpc.credentials import (
    CertificateError,
    CertificateFiles,
    Certificates,
    channel_credentials,
    server_credentials,
)
from cryptography import x509
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from tests.rpc.authorities import Authority, Pair, files_of, replace

OURS, THEIRS = Authority("ours"), Authority("theirs")
APART = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


async def _who(request: bytes, context: Any) -> bytes:
    """Say who called, by the certificate shown."""
    names = context.auth_context().get("x509_common_name", [b"nobody"])
    return bytes(names[0])


async def _until_told(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"begun"
    await asyncio.sleep(60)


@asynccontextmanager
async def a_server(certificates: Certificates) -> AsyncIterator[int]:
    """Serve by TLS; the port."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Who": grpc.unary_unary_rpc_method_handler(_who),
        "Stay": grpc.unary_stream_rpc_method_handler(_until_told),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Tls", handlers),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(certificates))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def ask(channel: grpc.aio.Channel) -> bytes:
    """Ask the server who we are."""
    method: Any = channel.unary_unary("/test.Tls/Who")
    answer: bytes = await method(b"", timeout=10)
    return answer


async def asked_by(
    port: int, authority: Authority | None, pair: Pair | None = None, *, plain: bool = False
) -> bytes:
    """The answer to a new connection of a client that trusts `authority` and shows `pair`."""
    target = f"localhost:{port}"
    if plain:
        made = grpc.aio.insecure_channel(target, options=APART)
    else:
        credentials = grpc.ssl_channel_credentials(
            authority.certificate if authority else None,
            pair.key if pair else None,
            pair.certificate if pair else None,
        )
        made = grpc.aio.secure_channel(target, credentials, options=APART)
    async with made as channel:
        return await ask(channel)


async def refused(port: int, *how: Any, **more: Any) -> None:
    """See a new connection of such a client refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asked_by(port, *how, **more)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def shown_by(port: int) -> str:
    """The common name of the certificate that a server shows to a new connection."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    names = x509.load_der_x509_certificate(shown).subject
    return str(names.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def test_who_trusts_the_authority_is_served_and_others_are_not(tmp_path: Path) -> None:
    async with a_server(Certificates(files_of(tmp_path, OURS.pair("run")))) as port:
        assert await asked_by(port, OURS) == b"nobody"
        await refused(port, OURS, plain=True)
        await refused(port, THEIRS)


async def test_with_an_authority_clients_must_show_a_certificate_of_it(tmp_path: Path) -> None:
    files = files_of(tmp_path, OURS.pair("run"), OURS)
    async with a_server(Certificates(files)) as port:
        assert await asked_by(port, OURS, OURS.pair("gateway")) == b"gateway"
        await refused(port, OURS)
        await refused(port, OURS, THEIRS.pair("gateway"))
        await refused(port, OURS, plain=True)


async def test_a_rotated_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path: Path,
) -> None:
    files = files_of(tmp_path, OURS.pair("first"), OURS)
    client = OURS.pair("gateway")
    credentials = grpc.ssl_channel_credentials(OURS.certificate, client.key, client.certificate)
    async with (
        a_server(Certificates(files)) as port,
        grpc.aio.secure_channel(f"localhost:{port}", credentials, options=APART) as old,
    ):
        stay: Any = old.unary_stream("/test.Tls/Stay")
        stream = stay(b"")
        assert await stream.read() == b"begun"
        assert await asyncio.to_thread(shown_by, port) == "first"
        files_of(tmp_path, OURS.pair("second"))
        assert await asyncio.to_thread(shown_by, port) == "second"
        assert await asyncio.to_thread(shown_by, port) == "second"
        assert not stream.done()
        assert await ask(old) == b"gateway"
        # The authority too: from now on, others are let in.
        replace(tmp_path / "ca.crt", THEIRS.certificate)
        assert await asked_by(port, OURS, THEIRS.pair("stranger")) == b"stranger"
        await refused(port, OURS, client)
        assert await ask(old) == b"gateway"
        stream.cancel()


async def test_half_a_rotation_keeps_the_last_good_pair_and_is_logged_once(
    tmp_path: Path,
) -> None:
    files = files_of(tmp_path, OURS.pair("first"))
    second = OURS.pair("second")
    async with a_server(Certificates(files)) as port:
        with capture_logs() as log:
            replace(tmp_path / "tls.crt", second.certificate)
            for _ in range(3):
                assert await asyncio.to_thread(shown_by, port) == "first"
            assert [(line["log_level"], line["event"]) for line in log] == [
                ("error", "certificates_refused")
            ]
            assert f"{files.key} is not the key of {files.certificate}" in log[0]["problem"]
            replace(tmp_path / "tls.key", second.key)
            assert await asyncio.to_thread(shown_by, port) == "second"
            assert log[-1]["event"] == "certificates_rotated"


async def test_a_channel_follows_the_rotation_of_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_LOOK_SECONDS", 0.0)
    theirs = files_of(tmp_path / "run", OURS.pair("run"), OURS)
    ours = files_of(tmp_path / "gateway", OURS.pair("gateway-1"), OURS)
    async with (
        a_server(Certificates(theirs)) as port,
        open_channel(f"localhost:{port}", Certificates(ours), APART) as channel,
    ):
        stay: Any = channel.unary_stream("/test.Tls/Stay")
        method: Any = channel.unary_unary("/test.Tls/Who")
        stream = stay(b"")
        assert await stream.read() == b"begun"
        assert await method(b"") == b"gateway-1"
        files_of(tmp_path / "gateway", OURS.pair("gateway-2"))
        assert await method(b"") == b"gateway-2"
        assert not stream.done()
        # The old one is closed as soon as its last call has ended.
        (old,) = channel._old  # type: ignore[attr-defined]  # a RotatingChannel
        stream.cancel()
        for _ in range(100):
            if old.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN:
                break
            await asyncio.sleep(0.02)
        assert old.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        assert await method(b"") == b"gateway-2"


def _broken(folder: Path) -> list[tuple[CertificateFiles, tuple[str, ...]]]:
    good = files_of(folder, OURS.pair("run"), OURS)
    other, nothing = folder / "other.key", folder / "nothing"
    other.write_bytes(OURS.pair("other").key)
    nothing.write_text("nothing of that kind\n")
    locked = folder / "locked.key"
    locked.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    gone, place = folder / "gone", folder
    return [
        (replaced(good, certificate=gone), ("ASGARD_TLS_CERT_FILE", str(gone), "is not there")),
        (replaced(good, key=gone), ("ASGARD_TLS_KEY_FILE", str(gone), "is not there")),
        (replaced(good, authority=gone), ("ASGARD_TLS_CA_FILE", str(gone), "is not there")),
        (replaced(good, key=place), ("ASGARD_TLS_KEY_FILE", str(place), "cannot be read")),
        (replaced(good, key=other), ("ASGARD_TLS_KEY_FILE", str(other), "issued together")),
        (replaced(good, key=None), ("ASGARD_TLS_KEY_FILE", "is not set", "together")),
        (replaced(good, certificate=None), ("ASGARD_TLS_CERT_FILE", "is not set", "together")),
        (replaced(good, certificate=nothing), ("ASGARD_TLS_CERT_FILE", "no certificate", "PEM")),
        (replaced(good, authority=nothing), ("ASGARD_TLS_CA_FILE", "no certificate", "PEM")),
        (replaced(good, key=nothing), ("ASGARD_TLS_KEY_FILE", "no private key", "PEM")),
        (replaced(good, key=locked), ("ASGARD_TLS_KEY_FILE", "is encrypted", "decrypt")),
    ]


def test_files_that_cannot_be_used_are_named_with_the_mend(tmp_path: Path) -> None:
    for files, parts in _broken(tmp_path):
        with pytest.raises(CertificateError) as caught:
            Certificates(files)
        for part in parts:
            assert part in str(caught.value)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    files = files_of(tmp_path, OURS.pair("run"))
    assert files.key is not None
    files.key.chmod(0)
    if os.geteuid() == 0:  # whom no mode stops: let it be a loop of links instead
        files.key.unlink()
        files.key.symlink_to(files.key)
    with pytest.raises(CertificateError, match=f"{files.key} cannot be read.*let the user"):
        Certificates(files)


def test_a_server_needs_a_certificate_of_its_own_and_a_client_does_not(tmp_path: Path) -> None:
    files = files_of(tmp_path, OURS.pair("run"), OURS)
    only = Certificates(CertificateFiles(authority=files.authority))
    channel_credentials(only.current())
    with pytest.raises(CertificateError, match="ASGARD_TLS_CERT_FILE is not set"):
        server_credentials(only)
