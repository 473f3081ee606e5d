"""From creation to deletion: what an asset does is the same on every engine and store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgard_server.access.domain import Action
from asgard_server.asset.domain import OutputOf
from asgard_server.asset.store import Filter
from asgard_server.asset.wishes import NewComponent
from asgard_server.auth.principal import Principal
from asgard_server.store.sql import access
from asgard_server.store.sql.flags import SqlFlags
from asgard_server.store.sql.retracting import retract
from asgard_server.store.sql.session import Session
from gimle.asgard.core.access_errors import ForbiddenError, NotAMemberError
from gimle.asgard.core.asset_errors import (
    AssetIncompleteError,
    AssetLinkedError,
    AssetOrgMismatchError,
    AssetStateError,
    ComponentNotFoundError,
    NotAwaitingReviewError,
)
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DeletedError,
    InvalidFieldError,
    NotFoundError,
)

from tests.contract.asset_homes import ADA, BOB, ENGINES, EVE, HOMES, AssetHome, asset_home


@pytest.fixture(params=ENGINES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture(params=HOMES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AssetHome]:
    async with asset_home(request.param, tmp_path) as opened:
        yield opened


# Creating


async def test_inline_content_is_ready_at_once_and_read_back(home: AssetHome) -> None:
    made = await home.create(content=b'{"summary": "x"}', asset_type="takeaways_report")
    assert (made.asset.state, made.asset.size_bytes, made.uploads) == ("ready", 16, ())
    shown = await home.keeper.show(ADA, made.asset.id, content=True, indexed=True, presigned=True)
    assert shown.content == b'{"summary": "x"}'
    assert shown.index_present is True
    assert shown.asset == made.asset
    assert shown.urls is not None
    answer = await home.store.http.get(shown.urls["default"])
    assert (answer.status_code, answer.content) == (200, b'{"summary": "x"}')


async def test_text_is_kept_as_text(home: AssetHome) -> None:
    made = await home.create(content='"# Über \\n"'.encode(), content_type="text/markdown")
    shown = await home.keeper.show(ADA, made.asset.id, content=True)
    assert shown.content == "# Über \n".encode()


async def test_a_repeat_with_the_same_id_answers_what_is_there(home: AssetHome) -> None:
    first = await home.create(id="mine", content=b"1", digest="d")
    again = await home.create(id="mine", content=b"1", digest="d")
    assert again.asset == first.asset
    assert await home.count("assets") == 1
    with pytest.raises(AlreadyExistsError):
        await home.create(id="mine", content=b"2", digest="other")
    with pytest.raises(AlreadyExistsError):
        await home.create(BOB, id="mine", content=b"1", digest="d")


async def test_a_repeat_shows_and_grants_nothing_to_who_has_lost_it(home: AssetHome) -> None:
    wish: dict[str, Any] = {"id": "mine", "components": ("a",), "digest": "d"}
    await home.create(**wish)
    await home.grant("mine", "bob", "administer")

    async def work(session: Session) -> None:
        created_at = await access.hold(session, "asset", "mine")
        await access.revoke(session, "asset", "mine", "ada", "administer")
        await access.regrant(session, "asset", "mine", created_at)

    await home.database.write(work)
    with pytest.raises(NotFoundError):
        await home.create(**wish)


async def test_of_many_repeats_at_once_one_makes_it(home: AssetHome) -> None:
    made = await asyncio.gather(
        *(home.create(content=b"1", id="mine", name="net", digest="d") for _ in range(8))
    )
    assert len({each.asset.created_at for each in made}) == 1
    assert await home.count("assets") == 1
    assert (await home.create(content=b"2", name="net")).asset.version == 2


async def test_a_repeat_of_a_presigned_create_grants_the_same_blobs_anew(home: AssetHome) -> None:
    first = await home.create(id="mine", digest="d")
    again = await home.create(id="mine", digest="d")
    assert again.asset.components == first.asset.components
    await home.send(again)
    assert (await home.finisher.finalize(ADA, "mine")).state == "ready"


async def test_what_lies_in_a_bucket_is_ready_at_once_and_not_ours(home: AssetHome) -> None:
    made = await home.create(uri="s3://theirs/data.zarr", size_bytes=7)
    assert (made.asset.state, made.asset.uri) == ("ready", "s3://theirs/data.zarr")
    shown = await home.keeper.show(ADA, made.asset.id, presigned=True)
    assert shown.urls == {}
    with pytest.raises(AssetStateError, match="s3://theirs/data"):
        await home.keeper.presign_reads(ADA, made.asset.id, ())


async def test_an_asset_for_an_organization_is_made_by_its_members(home: AssetHome) -> None:
    async def work(session: Session) -> None:
        insert = "INSERT INTO organizations (id, slug, name, created_at, created_by)"
        await session.run(f"{insert} VALUES ('org_1', 'acme', 'Acme', 1, 'x')")

    await home.database.write(work)
    member = Principal("bob", organizations=frozenset({"org_1"}))
    made = await home.create(
        member, content=b"1", organization_id="o/acme", visibility="organization"
    )
    assert (made.asset.organization_id, made.asset.visibility) == ("org_1", "org_public")
    other = Principal("cy", organizations=frozenset({"org_1"}))
    assert (await home.keeper.show(other, made.asset.id)).allowed == {"read"}
    with pytest.raises(NotFoundError):
        await home.keeper.show(EVE, made.asset.id)
    with pytest.raises(NotAMemberError):
        await home.create(EVE, content=b"1", organization_id="org_1")
    with pytest.raises(NotFoundError):
        await home.create(EVE, content=b"1", organization_id="o/nobody")
    mine = await home.lists.page(member, Filter(owner="o/acme"), None, 9)
    assert [each.id for each in mine] == [made.asset.id]


async def test_an_output_is_its_experiments_owners(home: AssetHome) -> None:
    await an_experiment(home, "exp")
    made = await home.create(content=b"1", output_of=OutputOf("exp"))
    assert made.asset.organization_id == "org_1"
    assert await home.count("asset_links", "WHERE asset_id = ?", made.asset.id) == 1
    # Who may read the experiment may read its outputs.
    assert (await home.keeper.show(BOB, made.asset.id)).allowed == {"read"}
    with pytest.raises(AssetOrgMismatchError):
        await home.create(content=b"1", output_of=OutputOf("exp"), organization_id="org_2")
    with pytest.raises(ForbiddenError):
        await home.create(BOB, content=b"1", output_of=OutputOf("exp"))
    with pytest.raises(NotFoundError, match="experiment"):
        await home.create(EVE, content=b"1", output_of=OutputOf("exp"))
    with pytest.raises(NotFoundError, match="variation"):
        await home.create(content=b"1", output_of=OutputOf("exp", 7))


async def test_outputs_of_an_experiment_are_listed_to_who_may_read_them(home: AssetHome) -> None:
    await an_experiment(home, "exp")
    await home.create(content=b"1")
    made = [await home.create(content=b"1", output_of=OutputOf("exp")) for _ in range(3)]
    third, second, first = [each.asset for each in reversed(made)]
    wanted = Filter(output_of=OutputOf("exp"))
    for who in (ADA, BOB):
        page = await home.lists.page(who, wanted, None, 2)
        assert [each.id for each in page] == [third.id, second.id]
        rest = await home.lists.page(who, wanted, (second.created_at, second.id), 9)
        assert [each.id for each in rest] == [first.id]
    assert await home.lists.page(EVE, wanted, None, 9) == []
    assert await home.lists.page(ADA, Filter(output_of=OutputOf("exp", 0)), None, 9) == []


async def test_a_new_output_of_what_was_taken_back_is_invalid_and_others_stay(
    home: AssetHome,
) -> None:
    await an_experiment(home, "exp")
    back, other = [(await home.create(content=b"1", output_of=OutputOf("exp"))).asset for _ in "ab"]

    async def work(session: Session) -> None:
        await session.run("UPDATE experiments SET retracted_at = 1, retraction_reason = 'wrong'")
        await access.hold(session, "experiment", "exp")
        await retract(session, "exp", None, "wrong", ADA, 1)

    await home.database.write(work)
    now = home.store.clock()
    await SqlFlags(home.database).clear(back.id, ["invalidated"], "it is right", ADA, now)
    late = await home.create(content=b"1", output_of=OutputOf("exp"))
    assert late.asset.invalidated is not None
    assert (late.asset.invalidated.reason, late.asset.invalidated.retraction) == (
        "wrong",
        "experiment:exp",
    )
    assert (await home.keeper.show(ADA, back.id)).asset.invalidated is None
    assert (await home.keeper.show(ADA, other.id)).asset.invalidated is not None
    assert await home.count("asset_flags", "WHERE asset_id = ?", late.asset.id) == 1


GRANTED: tuple[tuple[str, Action], ...] = (("ada", "administer"), ("bob", "read"))


async def an_experiment(home: AssetHome, experiment_id: str) -> None:
    async def work(session: Session) -> None:
        for org in ("org_1", "org_2"):
            insert = "INSERT INTO organizations (id, slug, name, created_at, created_by)"
            await session.run(f"{insert} VALUES (?, ?, 'x', 1, 'x')", org, org)
        await session.run(
            "INSERT INTO experiments (id, state, title, hypothesis_summary, rationale,"
            " description, config_yaml, created_at, updated_at, created_by, organization_id,"
            " visibility, request_digest)"
            " VALUES (?, 'open', '', '', '', '', '', 1, 1, 'ada', 'org_1', 'private', 'd')",
            experiment_id,
        )
        for who, action in GRANTED:
            await access.grant(session, "experiment", experiment_id, who, action, "own", "ada", 1)
        await access.regrant(session, "experiment", experiment_id, 1)

    await home.database.write(work)


# Finalizing


async def test_a_finalized_asset_cannot_change_through_any_url(store: AssetHome) -> None:
    size = len(b"declared bytes")
    declared = NewComponent("b.bin", size, hashlib.sha256(b"declared bytes").hexdigest())
    made = await store.create(component_files=(NewComponent("a.bin"), declared))
    plain, checked = made.uploads
    for each, body in ((plain, b"any bytes"), (checked, b"declared bytes")):
        sent = await store.store.http.put(each.url, content=body, headers=headers_of(each))
        assert sent.status_code == 200, sent.text
    ready = await store.finisher.finalize(ADA, made.asset.id)
    assert [each.size_bytes for each in ready.components] == [9, 14]
    for each in (plain, checked):
        await store.store.http.put(each.url, content=b"other bytes", headers=headers_of(each))
        await store.store.http.put(each.url, content=b"declared bytes", headers=headers_of(each))
    again = await store.finisher.finalize(ADA, made.asset.id)
    assert again == ready
    urls, _ = await store.keeper.presign_reads(ADA, made.asset.id, ())
    found = [(await store.store.http.get(urls[name])).content for name in ("a.bin", "b.bin")]
    assert found == [b"any bytes", b"declared bytes"]
    with pytest.raises(AssetStateError):
        await store.keeper.presign_writes(ADA, made.asset.id, ())


def headers_of(upload: object) -> dict[str, str]:
    signed = dict(getattr(upload, "headers", None) or {})
    signed.pop("content-length", None)  # the client says the true one
    return {"content-type": "application/octet-stream", **signed}


async def test_what_is_missing_is_named(home: AssetHome) -> None:
    made = await home.create(components=("a.bin", "b.bin", "c.bin"))
    first, *_ = made.uploads
    await home.store.http.put(first.url, content=b"x")
    with pytest.raises(AssetIncompleteError) as caught:
        await home.finisher.finalize(ADA, made.asset.id)
    assert caught.value.missing == ("b.bin", "c.bin")
    assert (await home.keeper.show(ADA, made.asset.id)).asset.state == "pending"
    # A URL that was lost is signed again, and a PUT before finalizing may be repeated.
    await home.store.http.put(first.url, content=b"x, again")
    for each in await home.keeper.presign_writes(ADA, made.asset.id, ("b.bin", "c.bin")):
        await home.store.http.put(each.url, content=b"x")
    done = await home.finisher.finalize(ADA, made.asset.id)
    assert [each.size_bytes for each in done.components] == [8, 1, 1]
    with pytest.raises(ComponentNotFoundError):
        await home.keeper.presign_reads(ADA, made.asset.id, ("d.bin",))


async def test_ten_thousand_components_are_finalized_in_batches(home: AssetHome) -> None:
    names = tuple(f"part/{number:05}" for number in range(10_000))
    made = await home.create(components=names)
    assert len(made.uploads) == 10_000
    with pytest.raises(AssetIncompleteError) as caught:
        await home.finisher.finalize(ADA, made.asset.id)
    assert caught.value.count == 10_000
    assert len(str(caught.value)) < 4_000
    await home.keeper.delete(ADA, made.asset.id)
    assert await home.count("asset_components") == 0


# Reviewing


async def test_an_asset_that_awaits_review_is_ready_when_it_is_approved(home: AssetHome) -> None:
    made = await home.create(pending_reasons=("review_required",))
    with pytest.raises(AssetIncompleteError):
        await home.finisher.approve(ADA, made.asset.id)
    await home.send(made)
    waiting = await home.finisher.finalize(ADA, made.asset.id)
    assert (waiting.state, waiting.is_whole) == ("pending", True)
    urls, _ = await home.keeper.presign_reads(ADA, made.asset.id, ("c.json",))
    assert (await home.store.http.get(urls["c.json"])).content == b"some bytes"
    assert [each.id for each in await home.lists.queue(ADA, None, 9)] == [made.asset.id]
    assert await home.lists.queue(EVE, None, 9) == []
    await home.grant(made.asset.id, "bob", "read")
    assert await home.lists.queue(BOB, None, 9) == []
    with pytest.raises(ForbiddenError):
        await home.finisher.approve(BOB, made.asset.id)
    done = await home.finisher.approve(ADA, made.asset.id)
    assert (done.state, done.pending_reasons) == ("ready", ())
    for again in (home.finisher.approve(ADA, done.id), home.finisher.reject(ADA, done.id, "no")):
        with pytest.raises(NotAwaitingReviewError, match="asset is not awaiting review"):
            await again
    assert await home.lists.queue(ADA, None, 9) == []


async def test_a_rejected_asset_is_abandoned_and_its_bytes_go(home: AssetHome) -> None:
    made = await home.create(content=b'"draft"', content_type="text/plain", pending_reasons=("r",))
    with pytest.raises(InvalidFieldError, match="reason"):
        await home.finisher.reject(ADA, made.asset.id, "too\0short")
    done = await home.finisher.reject(ADA, made.asset.id, "too short")
    assert (done.state, done.abandoned_reason) == ("abandoned", "too short")
    with pytest.raises(AssetStateError):
        await home.finisher.finalize(ADA, made.asset.id)
    await home.settle()
    assert await home.count("asset_contents") == 0


async def test_of_many_approvals_each_has_its_own_outcome(home: AssetHome) -> None:
    good = await home.create(content=b"1", pending_reasons=("r",))
    done = await home.create(content=b"2")
    theirs = await home.create(BOB, content=b"3", pending_reasons=("r",))
    ids = [done.asset.id, good.asset.id, theirs.asset.id, "nobody"]
    outcomes = await home.finisher.approve_all(ADA, ids)
    assert [(each.asset_id, type(each.problem)) for each in outcomes] == [
        (done.asset.id, NotAwaitingReviewError),
        (good.asset.id, type(None)),
        (theirs.asset.id, NotFoundError),
        ("nobody", NotFoundError),
    ]


# Versions


async def test_deleting_leaves_nothing_but_that_it_was_there(store: AssetHome) -> None:
    ready = await store.ready(name="net")
    inline = await store.create(content=b'{"a": 1}')
    await store.keeper.show(ADA, inline.asset.id, presigned=True)
    pending = await store.create()
    await store.send(pending)
    keys = await store.store.keys()
    assert len(keys) == 5
    for asset_id in (ready.id, inline.asset.id, pending.asset.id):
        await store.keeper.delete(ADA, asset_id)
        with pytest.raises(NotFoundError):
            await store.keeper.delete(ADA, asset_id)
        with pytest.raises(NotFoundError):
            await store.finisher.finalize(ADA, asset_id)
    await store.delivery.deliver()
    assert await store.store.keys() == []
    for table in (
        "assets",
        "asset_components",
        "asset_contents",
        "asset_texts",
        "grants",
        "readers",
        "asset_aliases",
        "blob_owners",
    ):
        assert await store.count(table) == 0, table
    with pytest.raises(DeletedError):
        await store.create(id=ready.id)


async def test_an_asset_is_not_deleted_while_something_refers_to_it(home: AssetHome) -> None:
    await an_experiment(home, "exp")
    made = await home.create(content=b"1", output_of=OutputOf("exp"))
    with pytest.raises(AssetLinkedError) as caught:
        await home.keeper.delete(ADA, made.asset.id)
    assert caught.value.links == {
        "experiment_input_assets": 0,
        "variation_input_assets": 0,
        "experiment_output_assets": 1,
    }
    given_up = await home.create(content=b"1", output_of=OutputOf("exp"), pending_reasons=("r",))
    await home.finisher.reject(ADA, given_up.asset.id, "no")
    await home.keeper.delete(ADA, given_up.asset.id)
    await home.grant(made.asset.id, "eve", "write")
    with pytest.raises(ForbiddenError):
        await home.keeper.delete(EVE, made.asset.id)


async def test_what_nobody_finalizes_is_given_up_and_its_bytes_go_a_day_later(
    store: AssetHome,
) -> None:
    pending = await store.create()
    await store.send(pending)
    waiting = await store.create(pending_reasons=("r",))
    await store.send(waiting)
    await store.finisher.finalize(ADA, waiting.asset.id)
    ready = await store.ready()
    await store.settle()
    assert (await store.keeper.show(ADA, pending.asset.id)).asset.state == "abandoned"
    assert (await store.keeper.show(ADA, waiting.asset.id)).asset.state == "pending"
    kept = {each.blob_id for asset in (ready, waiting.asset) for each in asset.components}
    assert {key.split("/")[1] for key in await store.store.keys()} == kept


async def test_an_interrupted_deletion_is_finished(home: AssetHome) -> None:
    asset = await home.ready()
    # The row is gone, and whoever deleted it died before the bytes followed.
    await home.keeper.delete(ADA, asset.id)
    assert len(await home.store.keys()) == 2
    await home.settle()
    assert await home.store.keys() == []
    assert await home.count("outbox") == 0
