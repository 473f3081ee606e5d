"""Whose runs are, and what everybody else may know of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import orjson
import pytest
import pytest_asyncio
from asgard_server.auth.believing import passing
from asgard_server.auth.principal import Principal, RunScope
from asgard_server.run import rights
from gimle.asgard.core.documents import RunDocument
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.list_results_pb2 import ListResultsRequest
from gimle.asgard.v1.render_result_pb2 import RenderResultRequest
from gimle.asgard.v1.run_owner_pb2 import RunOwner
from google.protobuf.field_mask_pb2 import FieldMask

from tests.rpc.running import NOON, Running, a_result, a_service, eventually, refusal
from tests.rpc.watching import Heard

CODE = grpc.StatusCode
KEY = "known to the services of this test"
SERVICE = (("x-asgard-service-key", KEY),)
ALICE = Principal("alice", organizations=frozenset({"org_1"}))
BOB = Principal("bob")
CAROL = Principal("carol", organizations=frozenset({"org_1"}))
WORKER = Principal("alice", "worker", run=RunScope("e", 0, 3))
LOCAL: tuple[tuple[str, str], ...] = ()


class As(NamedTuple):
    """The service as one caller calls it."""

    running: Running
    metadata: tuple[tuple[str, str], ...]

    def __getattr__(self, method: str) -> Any:
        return lambda request: getattr(self.running.stub, method)(request, metadata=self.metadata)

    async def run(self, **fields: Any) -> pb.Run:
        """Create a run."""
        made = await self.CreateRun(pb.CreateRunRequest(**{"name": "a run", **fields}))
        run: pb.Run = made.run
        return run

    async def result(self, run_id: str) -> str:
        """Add a result to a run."""
        request = pb.AddResultRequest(run_id=run_id, result=a_result())
        return str((await self.AddResult(request)).result.result_id)

    async def ids(self, **asked: Any) -> list[str]:
        """The runs of a list."""
        listed = await self.ListRuns(pb.ListRunsRequest(**asked))
        assert listed.total_size == len(listed.runs)
        return [run.run_id for run in listed.runs]


class House(NamedTuple):
    """A service, and who calls it."""

    alice: As
    bob: As
    carol: As
    worker: As
    service: As
    local: As
    folder: Path


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_service(tmp_path / "storage", service_key=KEY) as running:

        def by(who: Principal) -> As:
            return As(running, (*SERVICE, ("x-asgard-principal", passing(who))))

        yield House(
            *(by(ALICE), by(BOB), by(CAROL), by(WORKER), As(running, SERVICE), As(running, LOCAL)),
            running.folder,
        )


def said(folder: Path, run_id: str) -> dict[str, Any]:
    """What the document says of whose the run is."""
    body = orjson.loads((folder / "runs" / f"{run_id}.json").read_bytes())
    names = (*rights.OWNED, "readers", "writers")
    return {name: body[name] for name in names if name in body}


def calls_of_run(run_id: str) -> list[tuple[str, Any]]:
    """Each call that names a run."""
    add = pb.AddResultRequest(run_id=run_id, result=a_result())
    asked = granted_pb.CreateResultUploadsRequest
    array = asked.Array(key="k", path=["x"], dtype=b'"float64"', shape=[9], sha256="0" * 64)
    return [
        ("GetRun", pb.GetRunRequest(run_id=run_id)),
        ("UpdateRun", pb.UpdateRunRequest(run_id=run_id, note="mine")),
        ("UpdateRun", pb.UpdateRunRequest(run_id=run_id, note="mine", etag="e")),
        ("UpdateRun", pb.UpdateRunRequest(run_id=run_id, owner="bob")),
        ("FinishRun", pb.FinishRunRequest(run_id=run_id)),
        ("DeleteRun", pb.DeleteRunRequest(run_id=run_id)),
        ("ListResults", ListResultsRequest(run_id=run_id)),
        ("AddResult", add),
        ("WriteResult", iter([pb.WriteResultRequest(add=add)])),
        (
            "CreateResultUploads",
            asked(
                run_id=run_id,
                results=[asked.NewUpload(result_id="mine", result_type="any", arrays=[array])],
            ),
        ),
    ]


def calls_of_result(result_id: str) -> list[tuple[str, Any]]:
    """Each call that names a result."""
    append = AppendResultRequest(result_id=result_id, data=b'{"x":[2],"computed":[3]}')
    return [
        ("GetResult", pb.GetResultRequest(result_id=result_id)),
        ("ReadResult", one_pb.ReadResultRequest(result_id=result_id)),
        ("RenderResult", RenderResultRequest(result_id=result_id)),
        ("AppendResult", append),
        ("WriteResult", iter([pb.WriteResultRequest(append=append)])),
        ("DeleteResult", one_pb.DeleteResultRequest(result_id=result_id)),
        (
            "CreateResultDownloads",
            granted_pb.CreateResultDownloadsRequest(result_id=result_id),
        ),
    ]


async def outcomes(who: As, calls: list[tuple[str, Any]], id: str) -> list[tuple[Any, ...]]:
    """What calls are refused with, but for the id that they name."""
    found: list[tuple[Any, ...]] = []
    for method, request in calls:
        call = getattr(who, method)(request)
        code, reason, metadata = await refusal(call)
        words = tuple(sorted((key, text.replace(id, "ID")) for key, text in metadata.items()))
        details = (await call.details() or "").replace(id, "ID")
        found.append((method, code, reason, words, details))
    return found


async def test_a_stranger_cannot_tell_a_run_that_is_there_from_one_that_is_not(
    house: House,
) -> None:
    run = await house.alice.run()
    result = await house.alice.result(run.run_id)
    there = await outcomes(house.bob, calls_of_run(run.run_id), run.run_id)
    nothing = await outcomes(house.bob, calls_of_run("nothing"), "nothing")
    assert there == nothing
    there = await outcomes(house.bob, calls_of_result(result), result)
    nothing = await outcomes(house.bob, calls_of_result("nothing"), "nothing")
    assert there == nothing
    assert {each[1] for each in there} == {CODE.NOT_FOUND}
    kept = await house.alice.GetRun(pb.GetRunRequest(run_id=run.run_id))
    assert (kept.run.note, list(kept.run.result_ids)) == ("", [result])


async def test_lists_counts_and_searches_show_a_caller_what_they_may_read(house: House) -> None:
    mine = [(await house.alice.run(name="heat")).run_id for _ in range(3)]
    theirs = [(await house.bob.run(name="heat")).run_id for _ in range(4)]
    shared = (await house.alice.run(name="heat", organization_id="org_1")).run_id
    open_ = (await house.bob.run(name="cold", visibility="public")).run_id
    everybodys = (await house.local.run(name="heat")).run_id
    assert await house.alice.ids() == [everybodys, open_, shared, *reversed(mine)]
    assert await house.bob.ids() == [everybodys, open_, *reversed(theirs)]
    assert await house.carol.ids(query="heat") == [everybodys, shared]
    assert len(await house.local.ids()) == len(await house.service.ids()) == 10
    first = await house.bob.ListRuns(pb.ListRunsRequest(page_size=2))
    assert ([run.run_id for run in first.runs], first.total_size) == ([everybodys, open_], 6)
    token = first.next_page_token
    rest = await house.bob.ListRuns(pb.ListRunsRequest(page_size=4, page_token=token))
    assert [run.run_id for run in rest.runs] == list(reversed(theirs))
    assert not rest.next_page_token


async def test_whoever_makes_a_run_owns_it_and_says_nobody_else_does(house: House) -> None:
    run = await house.alice.run()
    assert said(house.folder, run.run_id) == {"owner": "alice", "visibility": "private"}
    saved = pb.SaveRunRequest(run=pb.CreateRunRequest(name="b"), results=[a_result()])
    batch = (await house.alice.SaveRun(saved)).run
    assert (batch.owner, batch.visibility) == ("alice", "private")
    shared = await house.alice.run(organization_id="org_1")
    assert (shared.organization_id, shared.visibility) == ("org_1", "org_public")
    refused = await refusal(house.alice.CreateRun(pb.CreateRunRequest(name="c", owner="bob")))
    assert refused[:2] == (CODE.PERMISSION_DENIED, "FORBIDDEN")
    away = pb.CreateRunRequest(name="c", organization_id="org_2")
    assert (await refusal(house.alice.CreateRun(away)))[1] == "NOT_A_MEMBER"
    for wrong in ("secret", "org_public"):
        refused = await refusal(
            house.alice.CreateRun(pb.CreateRunRequest(name="c", visibility=wrong))
        )
        assert refused[2]["field"] == "visibility"


async def test_the_local_user_and_services_write_no_owner_unless_they_name_one(
    house: House,
) -> None:
    for who in (house.local, house.service):
        assert said(house.folder, (await who.run()).run_id) == {}
        run = await who.run(owner="bob", visibility="public")
        assert said(house.folder, run.run_id) == {"owner": "bob", "visibility": "public"}
        refused = await refusal(who.CreateRun(pb.CreateRunRequest(name="a", visibility="public")))
        assert refused[2]["field"] == "visibility"
        refused = await refusal(who.CreateRun(pb.CreateRunRequest(name="a", owner="@bob")))
        assert refused[2]["field"] == "owner"


async def test_the_owner_says_whose_a_run_is_and_everybody_else_may_not(house: House) -> None:
    run_id = (await house.alice.run()).run_id

    async def say(who: As, **fields: Any) -> dict[str, Any]:
        await who.UpdateRun(pb.UpdateRunRequest(run_id=run_id, **fields))
        return said(house.folder, run_id)

    shared = {"owner": "alice", "organization_id": "org_1", "visibility": "org_public"}
    assert await say(house.alice, organization_id="org_1") == shared
    assert await house.carol.ids() == [run_id]
    for request in (
        pb.UpdateRunRequest(run_id=run_id, note="x"),
        pb.UpdateRunRequest(run_id=run_id, visibility="public"),
        pb.UpdateRunRequest(run_id=run_id, owner="carol"),
    ):
        assert (await refusal(house.carol.UpdateRun(request)))[1] == "FORBIDDEN"
    mask = FieldMask(paths=["organization_id"])
    assert await say(house.alice, update_mask=mask) == {"owner": "alice", "visibility": "private"}
    assert await house.carol.ids() == []
    assert (await say(house.alice, visibility="public"))["visibility"] == "public"
    assert await say(house.alice, owner="carol") == {"owner": "carol", "visibility": "public"}
    request = pb.UpdateRunRequest(run_id=run_id, visibility="private")
    assert (await refusal(house.alice.UpdateRun(request)))[1] == "FORBIDDEN"
    assert await say(house.carol, visibility="private") == {
        "owner": "carol",
        "visibility": "private",
    }
    nobodys = pb.UpdateRunRequest(run_id=run_id, owner="")
    assert (await refusal(house.carol.UpdateRun(nobodys)))[2]["field"] == "owner"
    assert await say(house.local, owner="") == {}
    assert await house.bob.ids() == [run_id]


async def test_what_may_be_read_and_not_changed_is_forbidden(house: House) -> None:
    run_id = (await house.alice.run(visibility="public")).run_id
    result = await house.alice.result(run_id)
    for method, request in [*calls_of_run(run_id), *calls_of_result(result)]:
        call = getattr(house.bob, method)(request)
        if method in ("GetRun", "ListResults", "GetResult", "RenderResult"):
            await call
        elif method == "ReadResult":
            assert (await call.read()).result.result_id == result
        elif method == "CreateResultDownloads":
            await call
        else:
            assert (await refusal(call))[:2] == (CODE.PERMISSION_DENIED, "FORBIDDEN"), method


async def test_what_the_library_writes_into_the_folder_is_everybodys(house: House) -> None:
    run = AsgardStorage(house.folder).create_run("by hand")
    for who in (house.alice, house.bob):
        await who.UpdateRun(pb.UpdateRunRequest(run_id=run.id, note="seen"))
        await who.result(run.id)
    request = pb.UpdateRunRequest(run_id=run.id, owner="alice")
    assert (await refusal(house.alice.UpdateRun(request)))[1] == "FORBIDDEN"
    await house.bob.DeleteRun(pb.DeleteRunRequest(run_id=run.id))


async def test_an_id_that_is_taken_is_refused_to_others_whatever_they_ask_for(
    house: House,
) -> None:
    request = pb.CreateRunRequest(run_id="mine", name="a run")
    made = (await house.alice.CreateRun(request)).run
    assert (await house.alice.CreateRun(request)).run.owner == "alice"
    for asked in (request, pb.CreateRunRequest(run_id="mine", name="another")):
        refused = await refusal(house.bob.CreateRun(asked))
        assert refused[:2] == (CODE.ALREADY_EXISTS, "ALREADY_EXISTS")
    saved = pb.SaveRunRequest(run=request)
    assert (await refusal(house.bob.SaveRun(saved)))[0] is CODE.ALREADY_EXISTS
    assert (await house.alice.GetRun(pb.GetRunRequest(run_id="mine"))).run.etag == made.etag


async def test_the_run_of_a_variation_is_read_and_changed_as_its_experiment_says(
    house: House,
) -> None:
    belongs = RunOwner(owner="alice", readers=["alice", "bob", "carol"], writers=["alice", "carol"])
    metadata = b'{"experiment_id":"e","variation":0,"run":3}'
    run_id = (await house.service.run(belongs=belongs, metadata=metadata)).run_id
    assert await house.bob.ids() == [run_id]
    await house.carol.UpdateRun(pb.UpdateRunRequest(run_id=run_id, note="seen"))
    await house.worker.result(run_id)
    change = pb.UpdateRunRequest(run_id=run_id, note="x")
    assert (await refusal(house.bob.UpdateRun(change)))[1] == "FORBIDDEN"
    mine = pb.UpdateRunRequest(run_id=run_id, visibility="public")
    assert (await refusal(house.alice.UpdateRun(mine)))[1] == "FORBIDDEN"
    deleting = pb.DeleteRunRequest(run_id=run_id)
    assert (await refusal(house.worker.DeleteRun(deleting)))[1] == "FORBIDDEN"
    # An earlier release says nothing of who reads it: that stays as it is.
    told = pb.UpdateRunRequest(run_id=run_id, belongs=RunOwner(owner="alice"))
    await house.service.UpdateRun(told)
    assert await house.bob.ids() == [run_id]
    alone = RunOwner(owner="alice", readers=["alice"], writers=["alice"])
    await house.service.UpdateRun(pb.UpdateRunRequest(run_id=run_id, belongs=alone))
    assert await house.bob.ids() == await house.carol.ids() == []


async def test_a_workers_key_changes_its_own_run_and_nothing_else(house: House) -> None:
    own = await house.alice.run(metadata=b'{"experiment_id":"e","variation":0,"run":3}')
    everybodys = await house.local.run()
    for run in (own, everybodys):
        assert (await house.worker.GetRun(pb.GetRunRequest(run_id=run.run_id))).run.run_id
        add = pb.AddResultRequest(run_id=run.run_id, result=a_result())
        assert (await refusal(house.worker.AddResult(add)))[1] == "FORBIDDEN"
    new = pb.CreateRunRequest(name="another")
    assert (await refusal(house.worker.CreateRun(new)))[1] == "FORBIDDEN"


async def test_a_result_whose_run_is_not_there_is_nobodys(house: House) -> None:
    run_id = (await house.alice.run()).run_id
    result = await house.alice.result(run_id)
    (house.folder / "runs" / f"{run_id}.json").unlink()

    async def gone() -> bool:
        return run_id not in await house.local.ids()

    await eventually(gone)
    for who in (house.alice, house.bob):
        call = who.GetResult(pb.GetResultRequest(result_id=result))
        assert (await refusal(call))[0] is CODE.NOT_FOUND
    await house.local.GetResult(pb.GetResultRequest(result_id=result))


# Watching --------------------------------------------------------------------------------


class Watching:
    """What one caller hears, in the words of a test."""

    def __init__(self, who: As, **request: Any) -> None:
        self.heard = Heard(who.WatchRuns(pb.WatchRunsRequest(**request)))
        self.token = ""

    async def next(self) -> tuple[str, str]:
        """What is told next, but for checkpoints; and of what."""
        while True:
            async with asyncio.timeout(40):
                told = await self.heard.next()
            self.token = told.resume_token
            if told.kind == "checkpoint":
                continue
            if told.kind != "change":
                return told.kind, ""
            gone = told.change.kind == pb.WatchRunsResponse.Change.KIND_DELETE
            return "gone" if gone else "there", told.change.object_id

    async def checkpoint(self) -> None:
        """Wait until the watch is there."""
        async with asyncio.timeout(40):
            assert (await self.heard.next()).kind == "checkpoint"


async def test_a_watcher_hears_of_what_they_may_read_and_of_nothing_else(house: House) -> None:
    alice, bob = Watching(house.alice), Watching(house.bob)
    await alice.checkpoint()
    await bob.checkpoint()
    private = (await house.alice.run()).run_id
    result = await house.alice.result(private)
    everybodys = (await house.local.run()).run_id
    assert await alice.next() == ("there", private)
    assert {await alice.next(), await alice.next()} == {("there", result), ("there", private)}
    assert await alice.next() == ("there", everybodys)
    # Nothing tells bob of what lies before: not even that there is a gap.
    assert await bob.next() == ("there", everybodys)
    await house.alice.UpdateRun(pb.UpdateRunRequest(run_id=private, visibility="public"))
    assert await bob.next() == ("there", private)
    await house.alice.UpdateRun(pb.UpdateRunRequest(run_id=private, visibility="private"))
    ended = time.monotonic()
    assert await bob.next() == ("gone", private)
    print(f"told {time.monotonic() - ended:.3f} s after it was taken back")
    assert (await refusal(house.bob.GetRun(pb.GetRunRequest(run_id=private))))[0] is CODE.NOT_FOUND
    other = await house.alice.result(private)
    await house.alice.DeleteRun(pb.DeleteRunRequest(run_id=private))
    last = (await house.local.run()).run_id
    assert await bob.next() == ("there", last)
    told = []
    while (one := await alice.next()) != ("there", last):
        told.append(one)
    assert {("gone", private), ("gone", result), ("gone", other)} <= set(told)


async def test_a_snapshot_and_a_resumed_watch_show_a_caller_their_own(house: House) -> None:
    mine = (await house.alice.run()).run_id
    result = await house.alice.result(mine)
    theirs = (await house.bob.run()).run_id
    everything = Watching(house.alice, start=pb.WatchRunsRequest.START_SNAPSHOT)
    told = [await everything.next() for _ in range(4)]
    assert told == [("reset", ""), ("there", mine), ("there", result), ("snapshot_end", "")]
    token = everything.token
    await house.bob.UpdateRun(pb.UpdateRunRequest(run_id=theirs, note="x"))
    await house.alice.UpdateRun(pb.UpdateRunRequest(run_id=mine, note="x"))
    assert await Watching(house.alice, resume_token=token).next() == ("there", mine)
    # A token is of its caller alone.
    call = house.bob.WatchRuns(pb.WatchRunsRequest(resume_token=token))
    assert (await refusal(call))[1] == "RESUME_TOKEN_UNUSABLE"


async def test_a_watch_of_one_run_is_silent_to_who_may_not_read_it(house: House) -> None:
    private = (await house.alice.run()).run_id
    alice, bob = (Watching(who, run_id=private) for who in (house.alice, house.bob))
    await alice.checkpoint()
    await bob.checkpoint()
    snapshot = Watching(house.bob, run_id=private, start=pb.WatchRunsRequest.START_SNAPSHOT)
    assert [await snapshot.next(), await snapshot.next()] == [("reset", ""), ("snapshot_end", "")]
    await house.bob.run()
    await house.alice.UpdateRun(pb.UpdateRunRequest(run_id=private, note="x"))
    assert await alice.next() == ("there", private)
    await house.alice.UpdateRun(pb.UpdateRunRequest(run_id=private, visibility="public"))
    assert await bob.next() == ("there", private)


async def test_services_are_told_who_reads_a_run_and_nobody_else_is(house: House) -> None:
    heard = {
        name: Heard(who.WatchRuns(pb.WatchRunsRequest()))
        for name, who in (
            *(("service", house.service), ("alice", house.alice), ("local", house.local)),
        )
    }
    for one in heard.values():
        async with asyncio.timeout(40):
            assert (await one.next()).kind == "checkpoint"
    run_id = (await house.alice.run()).run_id
    await house.alice.result(run_id)
    await house.alice.UpdateRun(pb.UpdateRunRequest(run_id=run_id, visibility="public"))
    free = (await house.local.run()).run_id
    told: dict[str, list[tuple[bool, list[str], list[str]]]] = {name: [] for name in heard}
    for name, one in heard.items():
        while True:
            async with asyncio.timeout(40):
                change = (await one.next()).change
            before, after = list(change.readers_before), list(change.readers_after)
            told[name].append((change.guarded, before, after))
            if change.object_id == free:
                break
    assert told["service"][0] == (True, [], ["alice"])
    assert (True, ["alice"], ["alice"]) in told["service"]
    assert (True, ["alice"], ["alice", "everyone"]) in told["service"]
    assert told["service"][-1] == (False, [], [])
    assert {each for name in ("alice", "local") for each in map(str, told[name])} == {
        str((False, [], []))
    }


# Rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "readers"),
    [
        ({}, None),
        ({"owner": None}, None),
        ({"owner": ""}, None),
        ({"visibility": "private"}, None),
        ({"owner": 7}, set()),
        ({"owner": "a"}, {"a"}),
        ({"owner": "a", "visibility": "odd"}, {"a"}),
        ({"owner": "a", "visibility": "public"}, {"a", "everyone"}),
        ({"owner": "a", "visibility": "org_public", "organization_id": "o"}, {"a", "o"}),
        ({"owner": "a", "visibility": "private", "organization_id": "o"}, {"a"}),
        ({"owner": "a", "visibility": "org_public"}, {"a"}),
        ({"owner": "a", "readers": ["b", 7]}, {"b"}),
        ({"owner": "a", "readers": "b"}, {"a"}),
    ],
)
def test_a_document_says_who_reads_it(extra: dict[str, Any], readers: set[str] | None) -> None:
    found = rights.readers_of(RunDocument("r", "a run", NOON, NOON, extra=extra))
    assert found == readers
