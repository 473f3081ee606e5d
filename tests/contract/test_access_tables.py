"""Grants, readers, the audit and the log do the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.access.domain import ACTIONS, ALL, OWN, VISIBILITY, Action
from asgard_server.auth.principal import LOCAL, Principal, RunScope
from asgard_server.store.sql import access, asset_log, audit
from asgard_server.store.sql.session import Database, Session
from gimle.asgard.core.access_errors import ForbiddenError, LastAdministratorError
from gimle.asgard.core.errors import NotFoundError

from tests.contract.asset_rows import ADA, BEN, CLEO, NOON, SERVICE, an_asset, an_experiment
from tests.contract.sql_homes import ENGINES, database


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        yield opened


async def test_a_grant_is_new_once_and_gone_once(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a")
        assert await access.grant(session, "asset", "a", "ben", "read", OWN, "ada", NOON)
        assert not await access.grant(session, "asset", "a", "ben", "read", OWN, "ada", NOON)
        assert await access.regrant(session, "asset", "a", NOON) == (("ada",), ("ada", "ben"))
        assert await access.regrant(session, "asset", "a", NOON) == (("ada", "ben"),) * 2
        assert await access.revoke(session, "asset", "a", "ben", "read")
        assert not await access.revoke(session, "asset", "a", "ben", "read")
        assert await access.regrant(session, "asset", "a", NOON) == (("ada", "ben"), ("ada",))

    await sessions.write(work)


async def test_what_is_granted_from_two_sources_stays_until_both_are_gone(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a")
        await access.grant(session, "asset", "a", "ben", "read", OWN, "ada", NOON)
        await access.grant(session, "asset", "a", "ben", "read", "experiment:e", "ada", NOON)
        await access.regrant(session, "asset", "a", NOON)
        await access.revoke(session, "asset", "a", "ben", "read", OWN)
        assert (await access.regrant(session, "asset", "a", NOON))[1] == ("ada", "ben")
        assert await access.actions(session, "asset", "a", BEN) == {"read"}
        await access.revoke(session, "asset", "a", "ben", "read", "experiment:e")
        assert (await access.regrant(session, "asset", "a", NOON))[1] == ("ada",)
        assert await access.actions(session, "asset", "a", BEN) == frozenset()

    await sessions.write(work)


async def test_the_last_administrator_is_not_revoked_and_nothing_else_changes(
    sessions: Database,
) -> None:
    async def revoke(session: Session) -> None:
        await access.revoke(session, "asset", "a", "ada", "administer")

    async def name_another(session: Session) -> None:
        await access.grant(session, "asset", "a", "ben", "administer", OWN, "ada", NOON)

    async def administrators(session: Session) -> set[str]:
        found = await access.grants(session, "asset", "a")
        return {each.principal for each in found if each.action == "administer"}

    await sessions.write(lambda session: an_asset(session, "a"))
    with pytest.raises(LastAdministratorError) as raised:
        await sessions.write(revoke)
    assert (raised.value.what, raised.value.principal) == ("a", "ada")
    assert await sessions.read(administrators) == {"ada"}
    await sessions.write(name_another)
    await sessions.write(revoke)
    assert await sessions.read(administrators) == {"ben"}


@pytest.mark.parametrize(
    ("granted", "may"),
    [
        ("read", {"read"}),
        ("write", {"read", "write"}),
        ("delete", {"read", "delete"}),
        ("administer", ALL),
    ],
)
async def test_an_action_implies_others(sessions: Database, granted: Action, may: set[str]) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a")
        await access.grant(session, "asset", "a", "team_ml", granted, OWN, "ada", NOON)
        assert await access.actions(session, "asset", "a", CLEO) == may
        assert await access.actions(session, "asset", "a", BEN) == frozenset()

    await sessions.write(work)


async def test_a_workers_key_changes_outputs_of_its_own_run_alone(sessions: Database) -> None:
    async def work(session: Session) -> None:
        for id in ("mine", "next", "loose"):
            await an_asset(session, id)
        for id, run in (("mine", 0), ("next", 1)):
            await session.run(
                "UPDATE assets SET experiment_id = 'e', variation = 1, run = ? WHERE id = ?",
                *(run, id),
            )
        worker = Principal("ada", kind="worker", run=RunScope("e", 1, 0))
        assert await access.actions(session, "asset", "mine", worker) == {"read", "write"}
        refused: list[tuple[str, Action]] = [("mine", "delete"), ("mine", "administer")]
        for other in ("next", "loose"):
            assert await access.actions(session, "asset", other, worker) == {"read"}
            refused += [(other, "write"), (other, "delete"), (other, "administer")]
        for id, action in refused:
            with pytest.raises(ForbiddenError, match="its own run"):
                await access.require(session, "asset", id, worker, action)
        await access.require(session, "asset", "mine", worker, "write")

    await sessions.write(work)


async def test_who_cannot_read_is_told_nothing_and_who_can_is_told_what_is_lacking(
    sessions: Database,
) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a", readers=["org_acme"])
        await an_experiment(session, "e")
        stranger = Principal("dan")
        for action in ACTIONS:
            with pytest.raises(NotFoundError) as hidden:
                await access.require(session, "asset", "a", stranger, action)
            with pytest.raises(NotFoundError) as missing:
                await access.require(session, "asset", "b", stranger, action)
            assert str(hidden.value).removesuffix("a") == str(missing.value).removesuffix("b")
            await access.require(session, "asset", "a", ADA, action)
            await access.require(session, "asset", "a", LOCAL, action)
            await access.require(session, "experiment", "e", SERVICE, action)
            with pytest.raises(NotFoundError):
                await access.require(session, "asset", "b", LOCAL, action)
        await access.require(session, "asset", "a", BEN, "read")
        with pytest.raises(ForbiddenError, match="write"):
            await access.require(session, "asset", "a", BEN, "write")
        with pytest.raises(ForbiddenError, match="delete"):
            await access.require(session, "asset", "a", BEN, "delete")
        with pytest.raises(NotFoundError):
            await access.require(session, "asset", "a", BEN, "administer")

    await sessions.write(work)


async def test_a_broadcast_takes_the_place_of_the_one_before(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await an_asset(session, "a", readers=["ben"])
        for principal in ("org_acme", "everyone", "everyone", None):
            await access.broadcast(session, "asset", "a", principal, "ada", NOON)
            _, after = await access.regrant(session, "asset", "a", NOON)
            assert after == tuple(sorted({"ada", "ben"} | ({principal} - {None})))  # type: ignore[type-var]
            sources = [each.source for each in await access.grants(session, "asset", "a")]
            assert sources.count(VISIBILITY) == (principal is not None)

    await sessions.write(work)


async def test_a_page_has_what_the_caller_may_read_newest_first_without_holes(
    sessions: Database,
) -> None:
    async def fill(session: Session) -> None:
        for number in range(60):
            readers = [["ben"], ["org_acme"], [], ["team_ml", "org_acme", "everyone"]][number % 4]
            await an_asset(session, f"a{number:02}", at=NOON + number // 2, readers=readers)

    async def pages(session: Session, who: Principal, size: int) -> list[str]:
        found: list[tuple[int, str]] = []
        while True:
            behind = found[-1] if found else None
            got = await access.page(session, "asset", who, behind, size)
            found += got
            if len(got) < size:
                return [each[1] for each in found]

    await sessions.write(fill)
    await sessions.write(lambda session: an_asset(session, "b", by="eve", at=NOON - 1))
    newest = [f"a{number:02}" for number in reversed(range(60))]
    expected = {
        ADA: newest,
        BEN: [each for each in newest if int(each[1:]) % 4 != 2],
        CLEO: [each for each in newest if int(each[1:]) % 4 in (1, 3)],
        Principal("dan"): [each for each in newest if int(each[1:]) % 4 == 3],
        SERVICE: [*newest, "b"],
        LOCAL: [*newest, "b"],
    }
    for who, ids in expected.items():
        for size in (1, 7, 100):

            async def whole(session: Session, who: Principal = who, size: int = size) -> list[str]:
                return await pages(session, who, size)

            assert await sessions.read(whole) == ids


async def test_the_log_is_dense_and_says_who_could_and_who_can_read(sessions: Database) -> None:
    async def change(session: Session) -> None:
        await asset_log.log_all(session, [asset_log.Change("asset", "a", ["ada"], ["ada", "bén"])])
        await asset_log.log_all(
            session,
            [
                asset_log.Change("asset", "b", [], ["ada"]),
                asset_log.Change("experiment", "e", ["x"], []),
            ],
        )
        await asset_log.log_all(session, [])

    async def fail(session: Session) -> None:
        await change(session)
        raise LookupError

    assert (await sessions.read(asset_log.head))[1:] == (0, 0)
    with pytest.raises(LookupError):
        await sessions.write(fail)
    await sessions.write(change)
    epoch, revision, trimmed = await sessions.read(asset_log.head)
    assert (len(epoch), revision, trimmed) == (32, 3, 0)
    found = await sessions.read(lambda session: asset_log.behind(session, 0, 10))
    assert found == [
        (1, asset_log.Change("asset", "a", ["ada"], ["ada", "bén"])),
        (2, asset_log.Change("asset", "b", [], ["ada"])),
        (3, asset_log.Change("experiment", "e", ["x"], [])),
    ]
    assert await sessions.read(lambda session: asset_log.behind(session, 1, 1)) == found[1:2]
    await sessions.write(lambda session: asset_log.trim(session, 1))
    assert await sessions.read(asset_log.head) == (epoch, 3, 2)
    assert await sessions.read(lambda session: asset_log.behind(session, 0, 10)) == found[2:]


async def test_the_audit_says_who_did_what_to_which_newest_first(sessions: Database) -> None:
    async def work(session: Session) -> None:
        await audit.note(session, ADA, "asset.create", "asset", "a", "org_1", {"name": "é"}, at=7)
        await audit.note(session, BEN, "asset.move", "asset", "a", None, {})
        entries = await audit.page(session, None, 10)
        assert [each.action for each in entries] == ["asset.move", "asset.create"]
        first = entries[1]
        assert (first.at, first.principal, first.principal_kind) == (7, "ada", "user")
        assert (first.object_kind, first.object_id, first.organization_id) == (
            "asset",
            "a",
            "org_1",
        )
        assert first.details_json == '{"name":"é"}'
        assert entries[0].at > NOON // 2
        assert await audit.page(session, entries[0].number, 10) == entries[1:]
        assert await audit.page(session, None, 10, "principal = ?", ("ben",)) == entries[:1]

    await sessions.write(work)
