"""Who calls a service that is not in the process of IdentityService, and whom it believes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from asgard_server.auth.believing import passing
from asgard_server.auth.principal import LOCAL, Principal, RunScope
from asgard_server.auth.verifying import Verified, Verifier
from asgard_server.processes.who import who_calls
from asgard_server.rpc.channel import open_channel
from asgard_server.rpc.credentials import Certificates, server_credentials
from asgard_server.settings import SettingError, Settings
from gimle.asgard.core.access_errors import UnauthenticatedError
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import principal_pb2

from tests.rpc.authorities import Authority, files_of
from tests.rpc.identities import (
    AS_SERVICE,
    Running,
    identity_service,
    shown,
    telling_server,
    telling_service,
    told,
)

CODE = grpc.StatusCode
ALICE = Principal("alice", organizations=frozenset({"org_1"}), handle="@alice")


@pytest_asyncio.fixture
async def identity(tmp_path: Path) -> AsyncIterator[Running]:
    async with identity_service(tmp_path, admins=("root",)) as running:
        # By a service, which forwards the local user: nobody else is there yet.
        local = (*AS_SERVICE, ("x-asgard-principal", passing(LOCAL)))
        for handle in ("root", "alice"):
            request = pb.CreateUserRequest(user_id=handle, handle=handle)
            await running.stub.CreateUser(request, metadata=local)
        running.key = key_of(running)  # type: ignore[method-assign]  # as the local user
        yield running


def key_of(running: Running) -> Any:
    local = (*AS_SERVICE, ("x-asgard-principal", passing(LOCAL)))

    async def key(handle: str = "@alice", **wish: Any) -> tuple[str, str]:
        request = pb.CreateApiKeyRequest(name="a key", user_id=handle, **wish)
        answer = await running.stub.CreateApiKey(request, metadata=local)
        return answer.api_key.key_id, answer.key

    return key


async def refused(channel: grpc.aio.Channel, *headers: tuple[str, str]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await told(channel, *headers)
    return error.value.code()


async def test_a_key_is_its_user_at_every_service(identity: Running) -> None:
    id, key = await identity.key("@alice")
    async with telling_service(identity_address=identity.address) as channel:
        said = await told(channel, shown(key))
        assert said == repr(Principal("alice", handle="@alice", key_id=id))
        assert await refused(channel) is CODE.UNAUTHENTICATED
        assert await refused(channel, shown("sk_user_none")) is CODE.UNAUTHENTICATED
        assert await refused(channel, shown("a.b.c")) is CODE.UNAUTHENTICATED


async def test_a_workers_run_comes_along(identity: Running) -> None:
    worker = principal_pb2.ApiKey.KEY_TYPE_WORKER
    _, key = await identity.key("@alice", key_type=worker, experiment_id="e", variation=0, run=3)
    async with telling_service(identity_address=identity.address) as channel:
        said = await told(channel, shown(key))
    assert "kind='worker'" in said
    assert repr(RunScope("e", 0, 3)) in said


async def test_a_revoked_key_is_refused_everywhere_within_a_second(identity: Running) -> None:
    id, key = await identity.key("@alice")
    async with (
        telling_service(identity_address=identity.address) as one,
        telling_service(identity_address=identity.address) as another,
    ):
        for channel in (one, another):
            await told(channel, shown(key))
        await identity.stub.RevokeApiKey(pb.RevokeApiKeyRequest(key_id=id), metadata=(shown(key),))
        revoked_at = time.monotonic()
        for channel in (one, another):
            # What is asked for a second later, or sooner on a loaded machine, is refused.
            await asyncio.sleep(max(0, revoked_at + 1 - time.monotonic()))
            with pytest.raises(grpc.aio.AioRpcError, match="revoked") as error:
                await told(channel, shown(key))
            assert error.value.code() is CODE.UNAUTHENTICATED


@pytest.mark.parametrize("method", ["ForEver", "Written"])
async def test_a_stream_ends_when_its_key_is_revoked(identity: Running, method: str) -> None:
    id, key = await identity.key("@alice")
    _, other = await identity.key("@alice")
    async with telling_service(identity_address=identity.address) as channel:
        streams: Any = channel.unary_stream(f"/test.Telling/{method}")
        lost, kept = streams(b"", metadata=(shown(key),)), streams(b"", metadata=(shown(other),))
        assert b"alice" in await lost.read()
        assert b"alice" in await kept.read()
        await identity.stub.RevokeApiKey(pb.RevokeApiKeyRequest(key_id=id), metadata=(shown(key),))
        began = time.monotonic()
        async with asyncio.timeout(30):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await lost.read()
        assert ended.value.code() is CODE.UNAUTHENTICATED
        assert time.monotonic() - began < 10
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await kept.read()


async def test_a_stream_begins_anew_when_its_caller_joins_or_leaves_something(
    identity: Running,
) -> None:
    _, key = await identity.key("@alice")
    local = (*AS_SERVICE, ("x-asgard-principal", passing(LOCAL)))
    request = pb.CreateOrganizationRequest(slug="acme")
    await identity.stub.CreateOrganization(request, metadata=local)
    async with telling_service(identity_address=identity.address) as channel:
        streams: Any = channel.unary_stream("/test.Telling/ForEver")
        stream = streams(b"", metadata=(shown(key),))
        await stream.read()
        await identity.stub.SetMember(
            pb.SetMemberRequest(scope_id="o/acme", user_id="@alice"), metadata=local
        )
        async with asyncio.timeout(30):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stream.read()
        assert ended.value.code() is CODE.OUT_OF_RANGE
        again = streams(b"", metadata=(shown(key),))
        assert b"org_" in await again.read()
        again.cancel()


async def test_a_stream_whose_client_leaves_is_cancelled_as_ever(identity: Running) -> None:
    _, key = await identity.key("@alice")
    async with telling_service(identity_address=identity.address) as channel:
        streams: Any = channel.unary_stream("/test.Telling/ForEver")
        stream = streams(b"", metadata=(shown(key),))
        await stream.read()
        stream.cancel()
        async with asyncio.timeout(20):
            while watching := [t for t in asyncio.all_tasks() if t.get_name() == "caller"]:
                await asyncio.wait(watching)


async def test_a_service_says_for_whom_it_asks_and_nobody_else_can(identity: Running) -> None:
    _, key = await identity.key("@alice")
    claimed = ("x-asgard-principal", passing(Principal("root", admin=True)))
    async with telling_service(identity_address=identity.address) as channel:
        assert "sub='root'" in await told(channel, *AS_SERVICE, claimed)
        assert "kind='service'" in await told(channel, *AS_SERVICE)
        assert await refused(channel, claimed) is CODE.UNAUTHENTICATED
        assert "sub='alice'" in await told(channel, claimed, shown(key))
        for wrong in ("", "a guess", "certificate"):
            pretended = ("x-asgard-service-key", wrong)
            assert await refused(channel, pretended, claimed) is CODE.PERMISSION_DENIED
            assert await refused(channel, pretended, shown(key)) is CODE.PERMISSION_DENIED
        broken = ("x-asgard-principal", "!!")
        assert await refused(channel, *AS_SERVICE, broken) is CODE.UNAUTHENTICATED


async def test_a_service_is_known_by_the_name_in_its_certificate(
    identity: Running, tmp_path: Path
) -> None:
    ours = Authority("ours")
    own = files_of(tmp_path / "own", ours.pair("asgard-blob"), ours)
    _, key = await identity.key("@alice")
    by_certificate = ("x-asgard-service-key", "certificate")
    for_root = ("x-asgard-principal", passing(Principal("root", admin=True)))
    settings = {"identity_address": identity.address, "service_names": ("asgard-gateway",)}
    async with telling_server(server_credentials(Certificates(own)), **settings) as port:
        target = f"localhost:{port}"
        for name, known in (("asgard-gateway", True), ("alice-laptop", False)):
            shown_files = files_of(tmp_path / name, ours.pair(name), ours)
            async with open_channel(target, Certificates(shown_files)) as channel:
                if known:
                    assert "kind='service'" in await told(channel, by_certificate)
                    assert "sub='root'" in await told(channel, by_certificate, for_root)
                else:
                    assert await refused(channel, by_certificate) is CODE.PERMISSION_DENIED
                # A gateway that asks for a client asks with the client's rights, or with none.
                assert "sub='alice'" in await told(channel, for_root, shown(key))
                assert await refused(channel, for_root) is CODE.UNAUTHENTICATED


async def test_whose_a_token_is_is_told_to_services_only(identity: Running) -> None:
    _, key = await identity.key("@root")
    _, alice = await identity.key("@alice")
    request = pb.VerifyTokenRequest(token=alice)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await identity.stub.VerifyToken(request, metadata=(shown(key),))
    assert error.value.code() is CODE.PERMISSION_DENIED
    answer = await identity.stub.VerifyToken(request, metadata=AS_SERVICE)
    assert answer.principal.principal_id == "alice"


async def test_no_replica_of_identity_answers_from_memory(
    identity: Running, tmp_path: Path
) -> None:
    id, key = await identity.key("@alice")
    request = pb.VerifyTokenRequest(token=key)
    async with identity_service(tmp_path) as another:
        answer = await another.stub.VerifyToken(request, metadata=AS_SERVICE)
        assert answer.principal.principal_id == "alice"
        await identity.stub.RevokeApiKey(pb.RevokeApiKeyRequest(key_id=id), metadata=(shown(key),))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await another.stub.VerifyToken(request, metadata=AS_SERVICE)
    assert error.value.code() is CODE.UNAUTHENTICATED


async def test_every_replica_of_identity_is_asked(identity: Running, tmp_path: Path) -> None:
    _, key = await identity.key("@alice")
    (tmp_path / "another").mkdir()
    # One that knows of no key, by which it can be told which of them was asked.
    async with identity_service(tmp_path / "another") as another:
        both = f"ipv4:{identity.address},{another.address}"
        async with telling_service(identity_address=both) as channel, asyncio.timeout(30):
            answered: set[bool] = set()
            while answered != {True, False}:
                try:
                    answered.add("sub='alice'" in await told(channel, shown(key)))
                except grpc.aio.AioRpcError as error:
                    if error.code() is not CODE.UNAUTHENTICATED:
                        raise
                    answered.add(False)
                await asyncio.sleep(0.1)


async def test_while_identity_is_away_nobody_is_let_in_and_then_everybody_is(
    identity: Running, tmp_path: Path
) -> None:
    _, key = await identity.key("@alice")
    async with telling_service(identity_address="127.0.0.1:1") as channel:
        assert await refused(channel, shown(key)) is CODE.UNAVAILABLE
    wrong = telling_service(identity_address=identity.address, service_key="not the one they know")
    async with wrong as channel:
        assert await refused(channel, shown(key)) is CODE.UNAVAILABLE


async def test_where_nobody_is_asked_a_known_key_is_its_user_all_the_same(
    identity: Running,
) -> None:
    id, key = await identity.key("@alice")
    settings = {"auth": "local", "identity_address": identity.address}
    async with telling_service(**settings) as channel:
        assert await told(channel) == repr(LOCAL)
        assert await told(channel, shown("sk_user_none")) == repr(LOCAL)
        assert "sub='alice'" in await told(channel, shown(key))
        await identity.stub.RevokeApiKey(pb.RevokeApiKeyRequest(key_id=id), metadata=(shown(key),))
        await asyncio.sleep(1)
        assert await refused(channel, shown(key)) is CODE.UNAUTHENTICATED


async def test_a_process_that_cannot_ask_does_not_start() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(SettingError, match="IDENTITY_ADDRESS is not set"):
            who_calls(Settings(auth="required"), stack)
        with pytest.raises(SettingError, match="SERVICE_KEY is not"):
            who_calls(Settings(auth="required", identity_address="localhost:1"), stack)


# The look-up that is remembered ---------------------------------------------------------


class Looking:
    """A look-up that counts, and answers what it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Verified | Exception = Verified(ALICE)
        self.slowly = False

    async def __call__(self, token: str) -> Verified:
        self.asked += 1
        if self.slowly:
            await asyncio.sleep(0.05)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clocks:
    """Two clocks that go when they are told."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 29, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed


def a_verifier() -> tuple[Verifier, Looking, Clocks]:
    looking, clocks = Looking(), Clocks()
    verifier = Verifier(looking, now=clocks.now, monotonic=clocks.monotonic)
    return verifier, looking, clocks


async def test_what_was_looked_up_is_believed_for_less_than_a_second() -> None:
    verifier, looking, clocks = a_verifier()
    for _ in range(3):
        assert await verifier("token") == ALICE
    assert looking.asked == 1
    looking.answer = UnauthenticatedError("revoked")
    clocks.passed = 0.99
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            await verifier("token")
    assert looking.asked == 2


async def test_of_many_who_show_a_token_at_once_one_looks_it_up() -> None:
    verifier, looking, _ = a_verifier()
    looking.slowly = True
    found = await asyncio.gather(*(verifier("token") for _ in range(20)))
    assert found == [ALICE] * 20
    assert looking.asked == 1


async def test_who_stops_waiting_leaves_the_look_up_to_the_others() -> None:
    verifier, looking, _ = a_verifier()
    looking.slowly = True
    first = asyncio.create_task(verifier("token"))
    await asyncio.sleep(0)
    second = asyncio.create_task(verifier("token"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ALICE


async def test_trouble_on_the_way_is_not_remembered_and_a_refusal_is() -> None:
    verifier, looking, _ = a_verifier()
    looking.answer = StorageUnavailableError("identity", "away")
    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            await verifier("token")
    assert looking.asked == 2
    looking.answer = Verified(ALICE)
    assert await verifier("token") == ALICE


async def test_no_answer_outlives_the_token_it_is_about() -> None:
    verifier, looking, clocks = a_verifier()
    looking.answer = Verified(ALICE, clocks.now() + timedelta(seconds=0.3))
    assert await verifier("token") == ALICE
    clocks.passed = 0.3
    looking.answer = UnauthenticatedError("expired")
    with pytest.raises(UnauthenticatedError):
        await verifier("token")
